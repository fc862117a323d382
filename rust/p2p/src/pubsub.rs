//! Gossip: signed messages to the subscribers of a topic.
//!
//! gossipsub speaks `/floodsub/1.0.0` too, with whoever offers nothing better; the floodsub crate is not used.

use std::collections::HashSet;

use libp2p::{
    PeerId,
    gossipsub::{
        self, Config as Gossip, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAuthenticity, MessageId,
        PublishError, TopicHash, ValidationMode, WhitelistSubscriptionFilter,
    },
    identity::Keypair,
};
use std::time::Duration;

use crate::{
    config::{Config, PubsubRouter},
    error::Error,
    event::GossipMessage,
    narrow::Narrow,
};

/// Gossip that knows the topics it was configured with and no others, so that peers cannot fill its tables.
type Gossipsub = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// The behaviour: with the floodsub router it offers nothing but floodsub.
pub(crate) type Behaviour = Narrow<Gossipsub>;

/// What the floodsub router offers.
pub(crate) const FLOODSUB_PROTOCOL: &str = "/floodsub/1.0.0";

/// Largest frame of the gossip protocols, 1 MiB as in the reference.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// What a frame needs besides topic and payload: ids, sequence number, signature, a public key, lengths.
const FRAME_OVERHEAD_BYTES: usize = 512;

/// How the crate prints the kind of a peer that speaks floodsub only; its type is not public.
const FLOODSUB: &str = "Floodsub";

/// How long a message id is remembered, as in the reference.
const REMEMBERED: Duration = Duration::from_secs(120);

/// When the mesh is first looked after, as in the reference; the crate's 5 s would leave it empty that long.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);

/// Messages that wait for one slow peer, up to 1 MiB each; the rest is dropped for it.
const QUEUED_MESSAGES: usize = 128;

/// How long a message may wait for a slow peer. Longer than the time between two pings: a handler of the crate that
/// has lost its stream notices a new message only when something else happens on its connection.
const QUEUED_FOR: Duration = Duration::from_secs(60);

/// How long peers keep us out of their mesh after `resubscribe`; the shortest they take.
const RESUBSCRIBE_BACKOFF: Duration = Duration::from_secs(1);

/// Build the behaviour and subscribe to the configured topics.
pub(crate) fn build(key: &Keypair, config: &Config) -> Result<Behaviour, Error> {
    let bug = |why: &dyn std::fmt::Display| {
        Error::Panicked(format!("the gossip settings are refused ({why}): report this bug"))
    };
    let topics: Vec<IdentTopic> = config.topics.iter().map(IdentTopic::new).collect();
    let known: HashSet<TopicHash> = topics.iter().map(IdentTopic::hash).collect();
    let mut inner = Gossipsub::new_with_subscription_filter(
        MessageAuthenticity::Signed(key.clone()),
        settings(config).map_err(|why| bug(&why))?,
        WhitelistSubscriptionFilter(known),
    )
    .map_err(|why| bug(&why))?;
    for topic in &topics {
        inner.subscribe(topic).map_err(|why| bug(&why))?;
    }
    let flood = config.pubsub_router == PubsubRouter::Floodsub;
    Ok(Narrow { inner, name: flood.then_some(FLOODSUB_PROTOCOL) })
}

fn settings(config: &Config) -> Result<Gossip, gossipsub::ConfigBuilderError> {
    ConfigBuilder::default()
        .support_floodsub()
        .validation_mode(ValidationMode::Strict)
        .message_id_fn(message_id)
        .max_transmit_size(MAX_FRAME_BYTES)
        .duplicate_cache_time(REMEMBERED)
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .flood_publish(config.flood_publish)
        .connection_handler_queue_len(QUEUED_MESSAGES)
        .publish_queue_duration(QUEUED_FOR)
        .forward_queue_duration(QUEUED_FOR)
        .unsubscribe_backoff(RESUBSCRIBE_BACKOFF)
        .build()
}

/// The identity of a message in this network: who signed it, and its sequence number.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId(id)
}

/// Sign and send; return to how many peers it goes.
pub(crate) fn publish(
    behaviour: &mut Behaviour,
    flood: bool,
    subscribers: usize,
    topic: &str,
    data: Vec<u8>,
) -> Result<usize, Error> {
    let bytes = data.len();
    if bytes + topic.len() + FRAME_OVERHEAD_BYTES > MAX_FRAME_BYTES {
        return Err(Error::PublishFailed(format!(
            "a message of {bytes} bytes does not fit into a gossip frame of {MAX_FRAME_BYTES}: send less"
        )));
    }
    let hash = IdentTopic::new(topic).hash();
    let reach = if flood { subscribers } else { reach_of_mesh(&behaviour.inner, &hash, subscribers) };
    match behaviour.inner.publish(hash, data) {
        Ok(_) => Ok(reach),
        Err(PublishError::NoPeersSubscribedToTopic) => Ok(0),
        Err(PublishError::AllQueuesFull(peers)) => Err(Error::Overloaded(format!(
            "the gossip queues to all {peers} subscribers of {topic} are full: retry later"
        ))),
        Err(why) => Err(Error::PublishFailed(format!("a message for {topic} was not sent: {why}"))),
    }
}

/// To how many of `subscribers` an own message goes without flooding: all that speak floodsub, and the mesh, made
/// up to its regular size.
fn reach_of_mesh(behaviour: &Gossipsub, topic: &TopicHash, subscribers: usize) -> usize {
    let flooded: HashSet<&PeerId> =
        behaviour.peer_protocol().filter(|(_, kind)| kind.as_ref() == FLOODSUB).map(|(peer, _)| peer).collect();
    let flooded =
        behaviour.all_peers().filter(|(peer, topics)| flooded.contains(peer) && topics.contains(&topic)).count();
    let mesh = behaviour.mesh_peers(topic).count().max(Gossip::default().mesh_n());
    flooded + mesh.min(subscribers.saturating_sub(flooded))
}

/// Announce our topics to everybody anew.
///
/// A peer of the reference forgets what we subscribed to when one of two connections between us is closed, and a
/// subscription can be lost on the way when both sides drop a connection; neither tells the other.
pub(crate) fn resubscribe(behaviour: &mut Behaviour, topics: &[String]) {
    for topic in topics.iter().map(IdentTopic::new) {
        behaviour.inner.unsubscribe(&topic);
        if let Err(why) = behaviour.inner.subscribe(&topic) {
            log::error!("the topic {topic} could not be subscribed to again: {why}");
        }
    }
}

/// A message as the user sees it; `None` if it lacks what the signature check has made sure of.
pub(crate) fn received(message: Message) -> Option<GossipMessage> {
    Some(GossipMessage {
        topic: message.topic.into_string(),
        source: message.source?,
        seqno: message.sequence_number?.to_be_bytes(),
        data: message.data,
    })
}

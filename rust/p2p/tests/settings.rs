//! Each setting does what it says.

mod support;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aicn_p2p::{Config, Error, Event, PeerId, PubsubRouter, RoutingMode};
use support::{Host, PATIENCE, TOPIC, config, eventually, found, within};

const KEY: [u8; 34] = [0x12; 34];

fn with(change: impl Fn(&mut Config)) -> Config {
    let mut config = config();
    change(&mut config);
    config
}

#[tokio::test]
async fn dial_timeout_ends_a_dial_that_nobody_answers() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let place = silent.local_addr().expect("bound");
    let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", place.port(), PeerId::random());
    let host = Host::with(with(|config| config.dial_timeout = Duration::from_millis(300))).await;
    let begun = Instant::now();
    let error = host.handle.connect(addr.parse().expect("an address"), PATIENCE).await.expect_err("nobody answers");
    assert!(matches!(error, Error::DialFailed(_)), "{error:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < PATIENCE / 3, "{took:?}");
}

#[tokio::test]
async fn kad_protocol_parts_the_dht_from_others() {
    let other = "/other/kad/1.0.0";
    let with_prefix = |prefix: &'static str, mode| {
        with(move |config| {
            config.kad_protocol = prefix.into();
            config.routing_mode = mode;
        })
    };
    let mut server = Host::with(with_prefix(other, RoutingMode::Server)).await;
    assert!(server.handle.protocols().contains(&other.to_owned()));
    let mut provider = Host::with(with_prefix(other, RoutingMode::Client)).await;
    let mut same = Host::with(with_prefix(other, RoutingMode::Client)).await;
    let mut stranger = Host::start().await;
    for host in [&mut provider, &mut same, &mut stranger] {
        host.connect(&server).await;
        host.identified(server.id()).await;
        server.identified(host.id()).await;
    }
    within(provider.handle.provide(KEY.to_vec())).await.expect("provides");
    let found = found(&same, KEY, 10, |found| !found.is_empty()).await;
    assert_eq!(found.iter().map(|each| each.peer).collect::<Vec<_>>(), [provider.id()]);
    let found = within(stranger.handle.find_providers(KEY.to_vec(), 10, PATIENCE)).await;
    assert_eq!(found, Ok(vec![]));
}

#[tokio::test]
async fn without_routing_nobody_is_asked_before_the_user_asks() {
    let mut server = Host::with(with(|config| config.routing_mode = RoutingMode::Server)).await;
    let mut beyond = Host::with(with(|config| config.routing_mode = RoutingMode::Server)).await;
    beyond.connect(&server).await;
    beyond.identified(server.id()).await;
    server.identified(beyond.id()).await;
    let mut none = Host::with(with(|config| config.routing_mode = RoutingMode::None)).await;
    none.connect(&server).await;
    none.identified(server.id()).await;
    let mut client = Host::with(with(|config| config.routing_mode = RoutingMode::Client)).await;
    client.connect(&server).await;
    // The client looks around by itself and so meets the other server. The one without came first, and does not.
    let beyond_id = beyond.id();
    client.event(|event| matches!(event, Event::Connected(c) if c.peer == beyond_id).then_some(())).await;
    assert_eq!(none.handle.connections().iter().map(|each| each.peer).collect::<Vec<_>>(), [server.id()]);
    assert!(!none.handle.protocols().contains(&"/dbc/kad/1.0.0".to_owned()));
    // Asked, it asks.
    let found = within(none.handle.find_peer(beyond_id, PATIENCE)).await.expect("the server knows");
    assert_eq!(found.addrs, beyond.handle.listen_addrs());
}

/// Leaves of a star: more than a mesh holds.
const LEAVES: usize = 20;
/// Less than half of the time between two rounds of gossip about what others have missed.
const AT_ONCE: Duration = Duration::from_millis(300);
/// From one message to the next, so that not both are helped by such a round.
const APART: Duration = Duration::from_millis(500);

/// Publish two messages and tell whether every leaf has heard both at once. One that it has not may never come.
async fn all_hear_at_once(centre: &Host, leaves: &mut [Host], attempt: u8) -> bool {
    let mut at_once = true;
    for number in 0..2 {
        let (begun, data) = (tokio::time::Instant::now(), vec![attempt, number]);
        centre.handle.publish(TOPIC.into(), data.clone()).await.expect("publishes");
        for leaf in leaves.iter_mut() {
            let hears = async { while leaf.gossip().await.data != data {} };
            at_once &= tokio::time::timeout_at(begun + AT_ONCE, hears).await.is_ok();
        }
        tokio::time::sleep_until(begun + APART).await;
    }
    at_once
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_publish_sends_to_every_subscriber_and_not_to_the_mesh_only() {
    let mut heard = HashMap::new();
    for flood in [true, false] {
        let gossipsub = |flood| {
            with(move |config| {
                config.pubsub_router = PubsubRouter::Gossipsub;
                config.flood_publish = flood;
            })
        };
        let centre = Host::with(gossipsub(flood)).await;
        let mut leaves = Vec::new();
        for _ in 0..LEAVES {
            let leaf = Host::with(gossipsub(true)).await;
            leaf.connect(&centre).await;
            leaves.push(leaf);
        }
        eventually("all are subscribed", || centre.handle.topic_peers(TOPIC).len() == LEAVES).await;
        let mut tries = Vec::new();
        // A busy machine may be late; that a message goes to few only is not undone by trying again.
        for attempt in 0..5 {
            tries.push(all_hear_at_once(&centre, &mut leaves, attempt).await);
            if tries.ends_with(&[true]) {
                break;
            }
        }
        heard.insert(flood, tries.ends_with(&[true]));
    }
    assert_eq!(heard, HashMap::from([(true, true), (false, false)]));
}

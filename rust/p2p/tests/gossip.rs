//! Gossip among three hosts, under both routers.

mod support;

use std::time::Duration;

use aicn_p2p::{Config, Error, PubsubRouter};
use support::{Host, TOPIC, config, eventually, within};

fn with(router: PubsubRouter, flood_publish: bool) -> Config {
    let mut config = config();
    config.pubsub_router = router;
    config.flood_publish = flood_publish;
    config
}

/// Three hosts in a line, the middle one connected to both.
async fn line(routers: [(PubsubRouter, bool); 3]) -> [Host; 3] {
    let [left, middle, right] = routers;
    let left = Host::with(with(left.0, left.1)).await;
    let middle = Host::with(with(middle.0, middle.1)).await;
    let right = Host::with(with(right.0, right.1)).await;
    left.connect(&middle).await;
    right.connect(&middle).await;
    eventually("everybody knows who is subscribed", || {
        [(&left, 1), (&middle, 2), (&right, 1)]
            .iter()
            .all(|(host, peers)| host.handle.topic_peers(TOPIC).len() == *peers)
    })
    .await;
    [left, middle, right]
}

#[tokio::test]
async fn a_message_goes_down_the_line_under_every_router() {
    use PubsubRouter::{Floodsub, Gossipsub};
    for routers in [
        [(Floodsub, true); 3],
        [(Floodsub, false); 3],
        [(Gossipsub, true); 3],
        [(Gossipsub, false); 3],
        [(Gossipsub, false), (Floodsub, false), (Gossipsub, false)],
        [(Floodsub, false), (Gossipsub, false), (Floodsub, false)],
    ] {
        let [mut left, mut middle, mut right] = line(routers).await;
        for number in 0..5_u8 {
            assert_eq!(left.handle.publish(TOPIC.into(), vec![number]).await, Ok(1), "{routers:?}");
            let at_middle = middle.gossip().await;
            let at_right = right.gossip().await;
            assert_eq!(at_middle, at_right);
            assert_eq!((at_right.topic.as_str(), at_right.source, at_right.data), (TOPIC, left.id(), vec![number]));
        }
        assert_eq!(middle.handle.publish(TOPIC.into(), b"both".to_vec()).await, Ok(2));
        // The next thing that the ends hear is this: no echo of an own message, no message twice.
        for end in [&mut left, &mut right] {
            let heard = end.gossip().await;
            assert_eq!((heard.source, heard.data), (middle.id(), b"both".to_vec()));
        }
        let spoken: Vec<String> =
            middle.handle.protocols().into_iter().filter(|name| name.starts_with("/meshsub")).collect();
        assert_eq!(spoken.is_empty(), routers[1].0 == Floodsub, "{spoken:?}");
    }
}

#[tokio::test]
async fn publishing_alone_reaches_nobody_and_is_no_error() {
    let host = Host::start().await;
    assert_eq!(host.handle.publish(TOPIC.into(), b"alone".to_vec()).await, Ok(0));
    assert_eq!(host.handle.publish("unheard of".into(), b"alone".to_vec()).await, Ok(0));
}

#[tokio::test]
async fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let [left, middle, mut right] = line([(PubsubRouter::Floodsub, true); 3]).await;
    let largest = vec![1; (1 << 20) - 512 - TOPIC.len()];
    assert_eq!(left.handle.publish(TOPIC.into(), largest.clone()).await, Ok(1));
    assert!(right.gossip().await.data == largest);
    let too_large = vec![1; 1 << 20];
    assert!(matches!(left.handle.publish(TOPIC.into(), too_large).await, Err(Error::PublishFailed(_))));
    drop(middle);
}

#[tokio::test]
async fn subscribers_are_forgotten_when_they_go() {
    let (one, two) = (Host::start().await, Host::start().await);
    one.connect(&two).await;
    eventually("is subscribed", || one.handle.topic_peers(TOPIC) == [two.id()]).await;
    two.handle.close().await.expect("closes");
    eventually("is gone", || one.handle.topic_peers(TOPIC).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_survives_dialling_each_other_at_once() {
    for round in 0..20 {
        let (mut one, mut two) = (Host::start().await, Host::start().await);
        let (to_two, to_one) = tokio::join!(one.connect(&two), two.connect(&one));
        assert_eq!((to_two, to_one), (two.id(), one.id()));
        support::one_connection(&one.handle, &two.handle).await;
        eventually("both are subscribed", || {
            !one.handle.topic_peers(TOPIC).is_empty() && !two.handle.topic_peers(TOPIC).is_empty()
        })
        .await;
        // A message on the connection that gives way may be lost; those after it must not be.
        heard_again(&one, &mut two, round).await;
        heard_again(&two, &mut one, round).await;
    }
}

/// Publish until it is heard.
async fn heard_again(from: &Host, to: &mut Host, round: u8) {
    within(async {
        loop {
            from.handle.publish(TOPIC.into(), vec![round]).await.expect("publishes");
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(100), to.gossip()).await {
                assert_eq!(heard.source, from.id());
                return;
            }
        }
    })
    .await;
}

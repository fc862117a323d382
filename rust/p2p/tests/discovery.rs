//! The DHT and relays: finding and reaching peers through others.

mod support;

use std::time::Duration;

use aicn_p2p::{Config, Error, Multiaddr, PeerAddrs, PeerId, RoutingMode};
use support::{Host, PATIENCE, config, eventually, found, read_all, within, write_all};

const KEY: [u8; 34] = [0x12; 34];

fn with(mode: RoutingMode) -> Config {
    let mut config = config();
    config.routing_mode = mode;
    config
}

async fn joined(server: &Host) -> Host {
    let mut client = Host::start().await;
    client.connect(server).await;
    client.identified(server.id()).await;
    client
}

#[tokio::test]
async fn what_one_client_provides_another_finds_through_a_server() {
    let server = Host::with(with(RoutingMode::Server)).await;
    assert!(server.handle.protocols().contains(&"/dbc/kad/1.0.0".to_owned()));
    let (worker, input) = (joined(&server).await, joined(&server).await);
    assert_eq!(within(input.handle.find_providers(KEY.to_vec(), 10, PATIENCE)).await, Ok(vec![]));

    within(worker.handle.provide(KEY.to_vec())).await.expect("provides");
    let found = found(&input, KEY, 10, |found| !found.is_empty()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].peer, &found[0].addrs), (worker.id(), &worker.handle.listen_addrs()));

    // What was found can be used without a word about addresses.
    assert_eq!(within(input.open(worker.id())).await.expect("dials").peer(), worker.id());
}

#[tokio::test]
async fn what_was_provided_alone_is_told_to_the_first_server_met() {
    let server = Host::with(with(RoutingMode::Server)).await;
    let mut worker = Host::start().await;
    within(worker.handle.provide(KEY.to_vec())).await.expect("provides");
    worker.connect(&server).await;
    worker.identified(server.id()).await;
    let input = joined(&server).await;
    found(&input, KEY, 10, |found| !found.is_empty()).await;
}

#[tokio::test]
async fn more_than_twenty_providers_of_one_key_are_found() {
    let server = Host::with(with(RoutingMode::Server)).await;
    let mut workers = Vec::new();
    for _ in 0..25 {
        let worker = joined(&server).await;
        within(worker.handle.provide(KEY.to_vec())).await.expect("provides");
        workers.push(worker);
    }
    let input = joined(&server).await;
    let found = found(&input, KEY, 100, |found| found.len() >= 25).await;
    assert_eq!(found.len(), 25);
    assert!(found.iter().all(|provider| !provider.addrs.is_empty()));
    let some = within(input.handle.find_providers(KEY.to_vec(), 3, PATIENCE)).await.expect("searches");
    assert_eq!(some.len(), 3);
}

#[tokio::test]
async fn a_peer_is_found_through_a_server_and_a_stranger_is_not() {
    let server = Host::with(with(RoutingMode::Server)).await;
    let mut other = Host::with(with(RoutingMode::Server)).await;
    other.connect(&server).await;
    other.identified(server.id()).await;
    let id = other.id();
    eventually("the server knows the other one", || server.handle.identity(&id).is_some()).await;
    let client = joined(&server).await;
    let found = within(client.handle.find_peer(other.id(), PATIENCE)).await.expect("is found");
    assert_eq!((found.peer, found.addrs), (other.id(), other.handle.listen_addrs()));
    let brief = Duration::from_secs(5);
    assert!(matches!(client.handle.find_peer(PeerId::random(), brief).await, Err(Error::NotConnected(_))));
}

#[tokio::test]
async fn a_search_ends_in_its_time() {
    let mut client = config();
    client.dial_timeout = Duration::from_secs(60);
    let client = Host::with(client).await;
    let begun = tokio::time::Instant::now();
    let found = client.handle.find_providers(KEY.to_vec(), 10, Duration::from_millis(200)).await;
    assert_eq!(found, Ok(vec![]));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_new_address_is_announced_for_what_was_provided_before() {
    let mut relay = with(RoutingMode::Server);
    relay.relay_service = true;
    let server = Host::with(relay).await;
    let worker = joined(&server).await;
    within(worker.handle.provide(KEY.to_vec())).await.expect("provides");
    let circuit: Multiaddr = format!("{}/p2p-circuit", server.addr()).parse().expect("an address");
    worker.handle.listen(circuit.clone(), PATIENCE).await.expect("the relay agrees");
    let input = joined(&server).await;
    let knows = |provider: &PeerAddrs| provider.peer == worker.id() && provider.addrs.contains(&circuit);
    found(&input, KEY, 10, |found| found.iter().any(knows)).await;
}

#[tokio::test]
async fn two_hosts_that_cannot_listen_meet_through_a_relay() {
    let private = |mut config: Config| {
        config.psk = Some([7; 32]);
        config
    };
    let mut relay = private(config());
    relay.relay_service = true;
    let relay = Host::with(relay).await;
    let circuit: Multiaddr = format!("{}/p2p-circuit", relay.addr()).parse().expect("an address");
    let mut worker = private(config());
    worker.listen_addrs = vec![circuit.clone()];
    let mut worker = Host::with(worker).await;
    eventually("the relay has agreed", || !worker.handle.listen_addrs().is_empty()).await;

    let mut input = private(config());
    input.listen_addrs = vec![];
    let input = Host::with(input).await;
    let there = circuit.with_p2p(worker.id()).expect("has no id yet");
    assert_eq!(within(input.handle.connect(there, PATIENCE)).await, Ok(worker.id()));
    let connection = input.handle.connection(&worker.id()).expect("is connected");
    assert!(connection.relayed);

    let near = input.open(worker.id()).await.expect("opens");
    let far = within(worker.inbound.recv()).await.expect("arrives");
    assert!(near.relayed() && far.relayed());
    write_all(&near, b"through the relay").await.expect("writes");
    near.close_write().await.expect("ends");
    assert_eq!(read_all(&far).await.expect("reads"), b"through the relay");
}

#[tokio::test]
async fn a_relay_that_comes_back_is_asked_again() {
    let mut relay_config = config();
    relay_config.relay_service = true;
    let relay = Host::with(relay_config.clone()).await;
    relay_config.listen_addrs = relay.handle.listen_addrs();
    let mut worker = config();
    worker.listen_addrs = vec![format!("{}/p2p-circuit", relay.addr()).parse().expect("an address")];
    let worker = Host::with(worker).await;
    eventually("the relay has agreed", || !worker.handle.listen_addrs().is_empty()).await;
    relay.handle.close().await.expect("closes");
    eventually("the loss is noticed", || worker.handle.listen_addrs().is_empty()).await;
    let _relay = Host::with(relay_config).await;
    eventually("the relay has agreed again", || !worker.handle.listen_addrs().is_empty()).await;
}

//! Connecting: with and without a key, to whom, how often, and why not.

mod support;

use std::time::Duration;

use aicn_p2p::{Direction, Error, Event, Multiaddr, PeerId};
use support::{Host, PATIENCE, config, eventually, one_connection, within};

#[tokio::test]
async fn two_hosts_connect_identify_and_ping() {
    let mut server = Host::start().await;
    let mut client_config = config();
    client_config.ping_interval = Duration::from_millis(50);
    let mut client = Host::with(client_config).await;
    assert_eq!(client.connect(&server).await, server.id());

    let seen = client.event(|event| if let Event::Connected(c) = event { Some(c) } else { None }).await;
    assert_eq!((seen.peer, seen.direction, seen.relayed), (server.id(), Direction::Outbound, false));
    assert_eq!(Some(&seen.addr), server.handle.listen_addrs().first());
    let seen = server.event(|event| if let Event::Connected(c) = event { Some(c) } else { None }).await;
    assert_eq!((seen.peer, seen.direction), (client.id(), Direction::Inbound));

    client.identified(server.id()).await;
    server.identified(client.id()).await;
    let identity = client.handle.identity(&server.id()).expect("identified");
    assert_eq!((identity.protocol_version.as_str(), identity.public_key.len()), ("aicn/0.0.1", 37));
    let mut told = identity.protocols.clone();
    told.sort();
    assert_eq!(told, server.handle.protocols());
    assert_eq!(identity.listen_addrs, server.handle.listen_addrs());

    let id = server.id();
    eventually("a round trip is measured", || {
        client.handle.connection(&id).expect("connected").rtt.is_some_and(|rtt| rtt < Duration::from_secs(1))
    })
    .await;
    let book = client.handle.known_addrs();
    assert!(book.iter().any(|p| p.peer == id && p.addrs == server.handle.listen_addrs()), "{book:?}");

    client.handle.disconnect(id).await.expect("disconnects");
    assert!(client.handle.connections().is_empty());
    let client_id = client.id();
    server.event(|event| (event == Event::Disconnected(client_id)).then_some(())).await;
    assert!(matches!(client.handle.disconnect(id).await, Err(Error::NotConnected(_))));
}

#[tokio::test]
async fn the_same_key_lets_in_and_another_keeps_out_at_once() {
    let host = async |psk| {
        let mut config = config();
        config.psk = psk;
        Host::with(config).await
    };
    let server = host(Some([7; 32])).await;
    host(Some([7; 32])).await.connect(&server).await;
    // The cipher of a wrong key is noise, different each time: try often enough to meet every kind of it.
    for _ in 0..20 {
        for psk in [Some([8; 32]), None] {
            let stranger = host(psk).await;
            let begun = std::time::Instant::now();
            let error = stranger.handle.connect(server.addr(), PATIENCE).await.expect_err("keys differ");
            assert!(matches!(&error, Error::DialFailed(why) if why.contains("/ip4/127.0.0.1/tcp/")), "{error:?}");
            assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn connecting_again_returns_at_once() {
    let (server, client) = (Host::start().await, Host::start().await);
    client.connect(&server).await;
    let nowhere = "/ip4/127.0.0.1/tcp/1".parse::<Multiaddr>().expect("an address").with_p2p(server.id()).expect("fits");
    assert_eq!(client.handle.connect(nowhere, PATIENCE).await, Ok(server.id()));
    assert_eq!(client.handle.connections().len(), 1);
}

#[tokio::test]
async fn a_failed_dial_says_where_and_why() {
    let (server, client) = (Host::start().await, Host::start().await);
    let stranger = PeerId::random();
    let dial = async |addr: String| client.handle.connect(addr.parse().expect("an address"), PATIENCE).await;

    let at = server.handle.listen_addrs()[0].clone();
    let error = dial(format!("{at}/p2p/{stranger}")).await.expect_err("another peer");
    assert!(
        matches!(&error, Error::DialFailed(why) if why.contains(&at.to_string()) && why.contains(&server.id().to_string())),
        "{error}"
    );

    let error = dial(format!("/ip4/127.0.0.1/tcp/1/p2p/{stranger}")).await.expect_err("closed port");
    assert!(
        matches!(&error, Error::DialFailed(why) if why.contains("/ip4/127.0.0.1/tcp/1: ") && why.contains("refused")),
        "{error}"
    );

    let error = dial(format!("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{stranger}")).await.expect_err("not TCP");
    assert!(matches!(&error, Error::DialFailed(why) if why.contains("only TCP")), "{error}");

    let error = dial(format!("/ip4/127.0.0.1/tcp/1/p2p/{}", client.id())).await.expect_err("itself");
    assert!(matches!(&error, Error::DialFailed(why) if why.contains("itself")), "{error}");

    assert!(matches!(dial(at.to_string()).await, Err(Error::Address(_))));
    assert!(matches!(dial(format!("/p2p/{stranger}")).await, Err(Error::Address(_))));
    assert!(client.handle.connections().is_empty());
}

#[tokio::test]
async fn names_are_dialled_too() {
    let (server, client) = (Host::start().await, Host::start().await);
    let port = server.handle.listen_addrs()[0].to_string().rsplit('/').next().expect("a port").to_owned();
    let addr = format!("/dns4/localhost/tcp/{port}/p2p/{}", server.id());
    assert_eq!(client.handle.connect(addr.parse().expect("an address"), PATIENCE).await, Ok(server.id()));
}

#[tokio::test]
async fn a_taken_port_is_told_and_nothing_stays_open() {
    let first = Host::start().await;
    let mut second = config();
    second.listen_addrs.push(first.handle.listen_addrs()[0].clone());
    let error = aicn_p2p::start(second).await.map(drop).expect_err("the port is taken");
    assert!(matches!(&error, Error::ListenFailed(why) if why.contains("in use")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_each_other_at_once_leaves_one_connection() {
    for _ in 0..20 {
        let (one, two) = (Host::start().await, Host::start().await);
        within(async { tokio::join!(one.connect(&two), two.connect(&one)) }).await;
        one_connection(&one.handle, &two.handle).await;
        one.handle.close().await.expect("closes");
        two.handle.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_wildcard_is_told_as_the_addresses_it_means() {
    let mut wildcard = config();
    wildcard.listen_addrs = vec!["/ip4/0.0.0.0/tcp/0".parse().expect("an address")];
    let (server, client) = (Host::with(wildcard).await, Host::start().await);
    let addrs = server.handle.listen_addrs();
    assert!(addrs.iter().all(|addr| !addr.to_string().contains("0.0.0.0") && !addr.to_string().ends_with("/0")));
    let local = addrs.iter().find(|addr| addr.to_string().starts_with("/ip4/127.")).expect("loopback is one of them");
    let addr = local.clone().with_p2p(server.id()).expect("has no id yet");
    assert_eq!(client.handle.connect(addr, PATIENCE).await, Ok(server.id()));
}

#[tokio::test]
async fn ip6_is_spoken_where_the_machine_has_it() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let mut ip6 = config();
    ip6.listen_addrs = vec!["/ip6/::1/tcp/0".parse().expect("an address")];
    let (server, client) = (Host::with(ip6).await, Host::start().await);
    client.connect(&server).await;
}

#[tokio::test]
async fn many_callers_share_one_dial() {
    let (server, client) = (Host::start().await, Host::start().await);
    let calls = (0..600).map(|_| client.connect(&server));
    let peers = within(futures::future::join_all(calls)).await;
    assert!(peers.into_iter().all(|peer| peer == server.id()));
    assert_eq!((client.handle.connections().len(), server.handle.connections().len()), (1, 1));
}

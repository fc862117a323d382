//! Ends: of a host, of its calls, and by its own bugs.

mod support;

use std::time::Duration;

use aicn_p2p::{Error, Handle, PeerId};
use support::{ECHO, Host, PATIENCE, TOPIC, config, read_all, within};

/// One of each call that waits, against a peer that accepts connections and says nothing.
async fn pending_calls(handle: &Handle) -> (tokio::net::TcpListener, Vec<tokio::task::JoinHandle<Result<(), Error>>>) {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = silent.local_addr().expect("bound").port();
    let peer = PeerId::random();
    let addr = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}").parse().expect("an address");
    let (first, second) = (handle.clone(), handle.clone());
    let connect = tokio::spawn(async move { first.connect(addr, PATIENCE).await.map(drop) });
    // The dial has reached the listener; a request for a stream now waits for the same dial.
    let _socket = within(silent.accept()).await.expect("is dialled");
    let open = tokio::spawn(async move { second.open_stream(peer, ECHO.into(), PATIENCE).await.map(drop) });
    tokio::task::yield_now().await;
    tokio::spawn(async move {
        let _socket = _socket;
        std::future::pending::<()>().await;
    });
    (silent, vec![connect, open])
}

#[tokio::test]
async fn close_ends_everything() {
    let (one, mut two) = (Host::start().await, Host::start().await);
    one.connect(&two).await;
    let near = one.open(two.id()).await.expect("opens");
    let far = within(two.inbound.recv()).await.expect("arrives");
    let (_silent, calls) = pending_calls(&one.handle).await;
    let port = one.handle.listen_addrs()[0].clone();

    let (first, second) = within(async { tokio::join!(one.handle.close(), one.handle.close()) }).await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(one.handle.close().await, Ok(()));
    for call in calls {
        assert_eq!(within(call).await.expect("no panic"), Err(Error::Closed));
    }
    assert!(matches!(read_all(&near).await, Err(Error::StreamReset(_))));
    assert!(matches!(read_all(&far).await, Err(Error::StreamReset(_))));
    assert_eq!(one.handle.publish(TOPIC.into(), vec![]).await, Err(Error::Closed));
    assert_eq!(one.handle.connect(two.addr(), PATIENCE).await, Err(Error::Closed));
    assert!(one.handle.connections().is_empty() && one.handle.listen_addrs().is_empty());

    // Nobody listens there any more.
    let mut again = config();
    again.listen_addrs = vec![port];
    Host::with(again).await;

    let Host { mut events, mut inbound, .. } = one;
    within(async { while events.recv().await.is_some() {} }).await;
    assert!(within(inbound.recv()).await.is_none());
}

#[tokio::test]
async fn a_panic_of_the_core_becomes_an_error_everywhere() {
    let mut host = Host::start().await;
    let (_silent, calls) = pending_calls(&host.handle).await;
    host.handle.panic_for_test();
    for call in calls {
        assert!(matches!(within(call).await.expect("no panic here"), Err(Error::Panicked(_))));
    }
    assert!(matches!(host.handle.publish(TOPIC.into(), vec![]).await, Err(Error::Panicked(_))));
    assert!(matches!(host.handle.close().await, Err(Error::Panicked(_))));
    within(async { while host.events.recv().await.is_some() {} }).await;
    assert!(within(host.inbound.recv()).await.is_none());
}

#[tokio::test]
async fn a_host_without_handles_ends() {
    let Host { handle, mut events, inbound } = Host::start().await;
    drop((handle, inbound));
    within(async { while events.recv().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_key_of_another_kind_is_refused_without_showing_it() {
    let mut config = config();
    let ed25519 = libp2p::identity::Keypair::generate_ed25519().to_protobuf_encoding().expect("encodes");
    config.private_key = ed25519;
    assert!(matches!(aicn_p2p::start(config).await.map(drop), Err(Error::Identity(_))));
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let mut config = config();
    config.psk = Some([0xA5; 32]);
    let shown = format!("{config:?}");
    assert_eq!(shown.matches("<hidden>").count(), 2);
    assert!(!shown.contains("165") && !shown.to_lowercase().contains("a5a5"), "{shown}");
}

#[tokio::test]
async fn an_idle_host_sleeps() {
    let (one, two) = (Host::start().await, Host::start().await);
    one.connect(&two).await;
    let before = processor_time();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = processor_time() - before;
    assert!(used < Duration::from_millis(200), "two idle hosts used {used:?} of a second");
}

/// Processor time of this thread; the runtime of the test has no other.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    Duration::from_nanos(stat.split(' ').next().expect("has fields").parse().expect("a number"))
}

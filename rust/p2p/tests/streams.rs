//! Streams: whole, halved, reset, held back, refused.

mod support;

use std::time::Duration;

use aicn_p2p::{Error, STREAM_BUFFER_BYTES, Stream, TryRead};
use futures::FutureExt;
use support::{ECHO, Host, PATIENCE, config, eventually, one_connection, read_all, read_some, within, write_all};
use tokio::task::JoinSet;

/// Two connected hosts.
async fn pair() -> (Host, Host) {
    let (one, two) = (Host::start().await, Host::start().await);
    one.connect(&two).await;
    (one, two)
}

/// Both ends of a stream that `two` has heard of.
async fn open(one: &Host, two: &mut Host) -> (Stream, Stream) {
    let near = one.open(two.id()).await.expect("opens");
    let far = within(two.inbound.recv()).await.expect("arrives");
    assert_eq!((far.peer(), far.protocol(), far.relayed()), (one.id(), ECHO, false));
    assert_eq!((near.peer(), near.protocol(), near.relayed()), (two.id(), ECHO, false));
    (near, far)
}

async fn echo_many(from: &aicn_p2p::Handle, to: aicn_p2p::PeerId, count: usize) {
    let mut tasks = JoinSet::new();
    for index in 0..count {
        let from = from.clone();
        tasks.spawn(async move {
            let stream = from.open_stream(to, ECHO.into(), PATIENCE).await.expect("opens");
            let sent: Vec<u8> = (0..65_536_usize).map(|at| (at * 31 + index) as u8).collect();
            write_all(&stream, &sent).await.expect("writes");
            stream.close_write().await.expect("ends");
            assert!(read_all(&stream).await.expect("reads") == sent, "stream {index} came back changed");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the echo is whole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_echo_while_both_sides_dial() {
    let (one, two) = (Host::start().await, Host::start().await);
    let (at_one, at_two) = (one.addr(), two.addr());
    let (one, one_task) = one.serve_echo();
    let (two, two_task) = two.serve_echo();
    within(async { tokio::try_join!(one.connect(at_two, PATIENCE), two.connect(at_one, PATIENCE)) })
        .await
        .expect("both connect");
    tokio::join!(echo_many(&one, two.peer_id(), 500), echo_many(&two, one.peer_id(), 500));
    one_connection(&one, &two).await;
    one.close().await.expect("closes");
    two.close().await.expect("closes");
    one_task.await.expect("ends");
    two_task.await.expect("ends");
}

#[tokio::test]
async fn halves_end_one_by_one() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    write_all(&near, b"question").await.expect("writes");
    near.close_write().await.expect("ends");
    near.close_write().await.expect("is idempotent");
    assert!(matches!(near.try_write(b"x"), Err(Error::StreamReset(_))));
    assert_eq!(read_all(&far).await.expect("reads"), b"question");
    write_all(&far, b"answer").await.expect("the other half is open");
    far.close().await.expect("closes");
    far.close().await.expect("is idempotent");
    assert_eq!(read_all(&near).await.expect("reads"), b"answer");
    assert_eq!(near.try_read(1).expect("stays so"), TryRead::Eof);
    near.close().await.expect("closes");
}

#[tokio::test]
async fn what_was_written_before_close_arrives_without_the_handle() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    let sent = vec![7; STREAM_BUFFER_BYTES];
    write_all(&near, &sent).await.expect("writes");
    near.close().await.expect("closes");
    drop(near);
    assert!(read_all(&far).await.expect("reads") == sent);
}

#[tokio::test]
async fn a_reset_is_seen_by_a_side_that_only_waits() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    near.reset();
    near.reset();
    assert!(matches!(near.try_read(1), Err(Error::StreamReset(_))));
    assert!(matches!(near.try_write(b"x"), Err(Error::StreamReset(_))));
    assert!(matches!(read_all(&far).await, Err(Error::StreamReset(_))));
    assert!(matches!(far.try_write(b"x"), Err(Error::StreamReset(_))));
}

#[tokio::test]
async fn a_reset_is_seen_after_the_halves_were_ended() {
    let (one, mut two) = pair().await;
    // The side that has asked gives up: the one that answers has read everything, and waits for a model.
    let (near, far) = open(&one, &mut two).await;
    near.close_write().await.expect("ends");
    assert_eq!(read_all(&far).await.expect("reads"), b"");
    near.reset();
    eventually("the answering side learns", || far.try_write(b"").is_err()).await;

    // The side that answers gives up: its end must not look like the end of an answer.
    let (near, far) = open(&one, &mut two).await;
    near.close_write().await.expect("ends");
    assert_eq!(read_all(&far).await.expect("reads"), b"");
    write_all(&far, b"half an ans").await.expect("writes");
    assert_eq!(read_some(&near, 11).await.expect("reads"), b"half an ans");
    drop(far);
    assert!(matches!(read_all(&near).await, Err(Error::StreamReset(_))));
}

#[tokio::test]
async fn a_waiting_writer_learns_of_a_reset() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    let writer = tokio::spawn(async move {
        loop {
            write_all(&near, &[0; 65_536]).await?;
        }
        #[allow(unreachable_code, reason = "gives the block its type")]
        Ok::<(), Error>(())
    });
    within(far.readable()).await;
    far.reset();
    assert!(matches!(within(writer).await.expect("no panic"), Err(Error::StreamReset(_))));
}

#[tokio::test]
async fn a_lost_connection_resets_its_streams() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    write_all(&near, b"begun").await.expect("writes");
    assert_eq!(read_some(&far, 5).await.expect("reads"), b"begun");
    one.handle.disconnect(two.id()).await.expect("disconnects");
    assert!(matches!(read_all(&far).await, Err(Error::StreamReset(_))));
    assert!(matches!(read_all(&near).await, Err(Error::StreamReset(_))));
}

#[tokio::test]
async fn a_stalled_reader_holds_the_writer_back_and_nothing_is_lost() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    let piece: Vec<u8> = (0..=255).collect();
    let mut accepted = 0;
    // Write until nothing has been taken for a while; there is no event for "will take no more".
    while tokio::time::timeout(Duration::from_millis(500), near.writable()).await.is_ok() {
        let offset = accepted % 256;
        accepted += near.try_write(&piece[offset..]).expect("open");
    }
    // A write buffer here, a read buffer there, and one window of yamux between them, which doubles at most twice
    // while the read buffer fills.
    let most = 6 * STREAM_BUFFER_BYTES + 65_536;
    assert!((2 * STREAM_BUFFER_BYTES..most).contains(&accepted), "{accepted} bytes were taken");
    let finish = async {
        near.close_write().await.expect("ends");
    };
    let read = async {
        let all = read_all(&far).await.expect("reads");
        assert_eq!(all.len(), accepted);
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == (at % 256) as u8));
    };
    within(async { tokio::join!(finish, read) }).await;
}

#[tokio::test]
async fn small_writes_leave_at_once() {
    let (one, mut two) = pair().await;
    let (near, far) = open(&one, &mut two).await;
    for byte in 0..100 {
        write_all(&near, &[byte]).await.expect("writes");
        // Arrives although nothing follows: nobody waits for more.
        assert_eq!(read_some(&far, 1).await.expect("reads"), [byte]);
    }
}

#[tokio::test]
async fn an_unknown_protocol_is_refused() {
    let (one, two) = pair().await;
    let error = one.handle.open_stream(two.id(), "/unknown/1".into(), PATIENCE).await.expect_err("unknown");
    assert!(matches!(&error, Error::StreamRefused(why) if why.contains("/unknown/1")), "{error}");
    let error = one.handle.open_stream(two.id(), "unknown".into(), PATIENCE).await.expect_err("no name");
    assert!(matches!(error, Error::Address(_)), "{error}");
}

#[tokio::test]
async fn a_stream_dials_a_known_address_and_tells_when_there_is_none() {
    let (mut one, two) = pair().await;
    one.identified(two.id()).await;
    one.handle.disconnect(two.id()).await.expect("disconnects");
    one.open(two.id()).await.expect("dials");

    let stranger = aicn_p2p::PeerId::random();
    assert!(matches!(one.open(stranger).await, Err(Error::NotConnected(_))));

    two.handle.close().await.expect("closes");
    let id = two.id();
    eventually("the loss is noticed", || one.handle.connection(&id).is_none()).await;
    assert!(matches!(one.open(id).await, Err(Error::DialFailed(_))));
}

#[tokio::test]
async fn too_many_inbound_streams_are_reset_and_the_rest_lives() {
    let (one, mut two) = pair().await;
    // Nobody takes them: the queue holds 1024.
    let mut streams = Vec::new();
    for _ in 0..1024 {
        streams.push(one.open(two.id()).await.expect("opens"));
    }
    let over = one.open(two.id()).await.expect("is negotiated before it is reset");
    assert!(matches!(read_all(&over).await, Err(Error::StreamReset(_))));
    let first = within(two.inbound.recv()).await.expect("waits");
    write_all(&streams[0], b"still here").await.expect("writes");
    assert_eq!(read_some(&first, 10).await.expect("reads"), b"still here");
}

#[tokio::test]
async fn calls_that_are_dropped_leave_nothing_behind() {
    let (one, mut two) = pair().await;
    for _ in 0..200 {
        // Polled once, then dropped.
        assert!(one.open(two.id()).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // Had they stayed, the limit on unanswered requests would be near; and what was opened for nobody is reset.
    for _ in 0..5 {
        let stream = one.open(two.id()).await.expect("opens");
        write_all(&stream, b"mine").await.expect("writes");
        loop {
            let far = within(two.inbound.recv()).await.expect("arrives");
            match read_some_or_end(&far).await {
                Ok(bytes) => {
                    assert_eq!(bytes, b"mine");
                    break;
                }
                Err(error) => assert!(matches!(error, Error::StreamReset(_))),
            }
        }
    }
}

async fn read_some_or_end(stream: &Stream) -> Result<Vec<u8>, Error> {
    loop {
        match stream.try_read(4)? {
            TryRead::Data(data) => return Ok(data.to_vec()),
            TryRead::Eof => return Err(Error::StreamReset("ended".into())),
            TryRead::Empty => within(stream.readable()).await,
        }
    }
}

#[tokio::test]
async fn opening_is_bounded_in_time_and_number() {
    let mut slow = config();
    slow.dial_timeout = Duration::from_secs(60);
    let one = Host::with(slow).await;
    // A listener that accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = silent.local_addr().expect("bound").port();
    let peer = aicn_p2p::PeerId::random();
    let addr = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}").parse().expect("an address");
    let brief = Duration::from_millis(200);
    assert!(matches!(one.handle.connect(addr, brief).await, Err(Error::Timeout(_))));
}

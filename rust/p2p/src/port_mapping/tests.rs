//! Against routers of its own on loopback: one that speaks NAT-PMP, one that speaks UPnP.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    time::timeout,
};

use super::{PortMapping, SSDP, Settings};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);
const PATIENCE: Duration = Duration::from_secs(20);
/// A busy machine may lose a packet.
const RETRY: Duration = Duration::from_millis(100);

/// A router's end: what it was asked, one word for each thing.
type Asked = mpsc::Receiver<String>;

/// Speaks NAT-PMP at `ip`; grants at most `lease` seconds, at the port above the one that was asked for.
async fn nat_pmp(ip: Ipv4Addr, outside: Ipv4Addr, lease: u32) -> Asked {
    let socket = UdpSocket::bind((ip, crab_nat::GATEWAY_PORT)).await.expect("the port is free");
    let (asked, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut request = [0; 64];
        loop {
            let (size, from) = socket.recv_from(&mut request).await.expect("receives");
            let mut answer = vec![0, 128 + request[1], 0, 0, 0, 0, 0, 9];
            if request[1] == 0 {
                answer.extend(outside.octets());
            } else {
                assert_eq!((size, request[1]), (12, 2), "asks for TCP");
                let wanted = u32::from_be_bytes(request[8..12].try_into().expect("four bytes"));
                let port = u16::from_be_bytes([request[4], request[5]]);
                let external = if wanted == 0 { 0 } else { port + 1 };
                answer.extend(&request[4..6]);
                answer.extend(external.to_be_bytes());
                answer.extend(wanted.min(lease).to_be_bytes());
                let word = if wanted == 0 { "return" } else { "lend" };
                asked.send(format!("{word} {port}")).await.expect("the test listens");
            }
            socket.send_to(&answer, from).await.expect("sends");
        }
    });
    receiver
}

/// Speaks UPnP on loopback; gives where to search for it.
async fn upnp(taken: u16) -> (SocketAddr, Asked) {
    let (asked, receiver) = mpsc::channel(64);
    let (search, http) = (UdpSocket::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (search, http) = (search.expect("binds"), http.expect("binds"));
    let (at, place) = (search.local_addr().expect("bound"), http.local_addr().expect("bound"));
    tokio::spawn(async move {
        let mut request = [0; 2048];
        loop {
            let (size, from) = search.recv_from(&mut request).await.expect("receives");
            assert!(request[..size].starts_with(b"M-SEARCH * HTTP/1.1"));
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{place}/root.xml\r\n\r\n");
            search.send_to(answer.as_bytes(), from).await.expect("sends");
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = http.accept().await.expect("accepts");
            let asked = asked.clone();
            tokio::spawn(async move {
                // One request at a time: whoever asks waits for its answer.
                let mut request = Vec::new();
                while socket.read_buf(&mut request).await.is_ok_and(|size| size > 0) {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .lines()
                        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                    if body.len() < length.unwrap_or(0) {
                        continue;
                    }
                    request.clear();
                    let (status, answer) = page(&text, taken, &asked).await;
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (at, receiver)
}

async fn page(request: &str, taken: u16, asked: &mpsc::Sender<String>) -> (&'static str, String) {
    const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
    let value = |name: &str| {
        let (_, rest) = request.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(value, _)| value.to_owned())
    };
    let envelope = |inner: String| {
        format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{inner}</s:Body></s:Envelope>"
        )
    };
    if request.starts_with("GET /root.xml") {
        return (
            "200 OK",
            format!(
                "<root><device><deviceList><device><deviceList><device><serviceList><service><serviceType>{SERVICE}\
                 </serviceType><controlURL>/control</controlURL><SCPDURL>/schema.xml</SCPDURL></service></serviceList>\
                 </device></deviceList></device></deviceList></device></root>"
            ),
        );
    }
    if request.starts_with("GET /schema.xml") {
        let action = |name: &str, arguments: &[&str]| {
            let arguments: String = arguments
                .iter()
                .map(|name| format!("<argument><name>{name}</name><direction>in</direction></argument>"))
                .collect();
            format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
        };
        let place = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
        let target = ["NewInternalPort", "NewInternalClient", "NewEnabled", "NewPortMappingDescription"];
        let lease = ["NewLeaseDuration"];
        let add = action("AddPortMapping", &[&place[..], &target, &lease].concat());
        let actions = [add, action("DeletePortMapping", &place), action("GetExternalIPAddress", &[])].concat();
        return ("200 OK", format!("<scpd><actionList>{actions}</actionList></scpd>"));
    }
    if request.contains("#GetExternalIPAddress\"") {
        let ip = format!("<NewExternalIPAddress>{PUBLIC}</NewExternalIPAddress>");
        let answer =
            format!("<u:GetExternalIPAddressResponse xmlns:u=\"{SERVICE}\">{ip}</u:GetExternalIPAddressResponse>");
        return ("200 OK", envelope(answer));
    }
    let external = value("NewExternalPort").expect("names a port");
    if request.contains("#DeletePortMapping\"") {
        asked.send(format!("return {external}")).await.expect("the test listens");
        return ("200 OK", envelope(format!("<u:DeletePortMappingResponse xmlns:u=\"{SERVICE}\"/>")));
    }
    if external == taken.to_string() {
        let fault = "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError>\
                     <errorCode>718</errorCode><errorDescription>taken</errorDescription></UPnPError></detail></s:Fault>";
        return ("500 Internal Server Error", envelope(fault.into()));
    }
    let (client, port) = (value("NewInternalClient"), value("NewInternalPort"));
    let word = format!("lend {external} to {} {}", client.unwrap_or_default(), port.unwrap_or_default());
    asked.send(word).await.expect("the test listens");
    ("200 OK", envelope(format!("<u:AddPortMappingResponse xmlns:u=\"{SERVICE}\"/>")))
}

async fn next(asked: &mut Asked) -> String {
    timeout(PATIENCE, asked.recv()).await.expect("in time").expect("the router is there")
}

fn listening(ports: &[u16]) -> Vec<libp2p::Multiaddr> {
    let here = ["/ip4/127.0.0.1/tcp/9".to_owned(), "/dns4/x.example/tcp/8".to_owned()];
    let ports = ports.iter().map(|port| format!("/ip4/192.168.1.2/tcp/{port}"));
    here.into_iter().chain(ports).map(|addr| addr.parse().expect("an address")).collect()
}

async fn mapped(mapping: &mut PortMapping) -> Vec<String> {
    timeout(PATIENCE, mapping.changed()).await.expect("in time");
    mapping.addrs().iter().map(ToString::to_string).collect()
}

fn nobody() -> SocketAddr {
    // Discards what it hears.
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9))
}

#[tokio::test]
async fn nat_pmp_lends_renews_and_takes_back() {
    let router = Ipv4Addr::new(127, 7, 0, 1);
    let mut asked = nat_pmp(router, PUBLIC, 2).await;
    let lease = Duration::from_secs(3600);
    let mut mapping = PortMapping::with(Settings { router: Some(router), ssdp: nobody(), lease, first_retry: RETRY });
    mapping.want(&listening(&[4001, 4002]));
    assert_eq!(mapped(&mut mapping).await, ["/ip4/20.0.0.1/tcp/4002", "/ip4/20.0.0.1/tcp/4003"]);
    let mut first = [next(&mut asked).await, next(&mut asked).await];
    first.sort();
    assert_eq!(first, ["lend 4001", "lend 4002"]);
    // Granted for two seconds only, both are asked for again before they end.
    let mut again = [next(&mut asked).await, next(&mut asked).await];
    again.sort();
    assert_eq!(again, first);

    mapping.want(&listening(&[4002]));
    assert_eq!(mapped(&mut mapping).await, ["/ip4/20.0.0.1/tcp/4003"]);
    while next(&mut asked).await != "return 4001" {}
    mapping.close().await;
    while next(&mut asked).await != "return 4002" {}
}

#[tokio::test]
async fn upnp_lends_renews_and_takes_back() {
    let (ssdp, mut asked) = upnp(1).await;
    let nowhere = Some(Ipv4Addr::new(127, 7, 0, 2));
    let mut mapping =
        PortMapping::with(Settings { router: nowhere, ssdp, lease: Duration::from_secs(2), first_retry: RETRY });
    mapping.want(&listening(&[4001]));
    assert_eq!(mapped(&mut mapping).await, ["/ip4/20.0.0.1/tcp/4001"]);
    for _ in 0..3 {
        assert_eq!(next(&mut asked).await, "lend 4001 to 127.0.0.1 4001");
    }
    mapping.close().await;
    while next(&mut asked).await != "return 4001" {}
}

#[tokio::test]
async fn a_port_that_another_machine_has_is_replaced() {
    let (ssdp, mut asked) = upnp(4001).await;
    let nowhere = Some(Ipv4Addr::new(127, 7, 0, 3));
    let mut mapping =
        PortMapping::with(Settings { router: nowhere, ssdp, lease: Duration::from_secs(3600), first_retry: RETRY });
    mapping.want(&listening(&[4001]));
    let addrs = mapped(&mut mapping).await;
    let [addr] = addrs.as_slice() else { panic!("one address: {addrs:?}") };
    let external = addr.rsplit('/').next().expect("a port");
    assert_ne!(external, "4001");
    assert_eq!(next(&mut asked).await, format!("lend {external} to 127.0.0.1 4001"));
    mapping.close().await;
    assert_eq!(next(&mut asked).await, format!("return {external}"));
}

#[tokio::test]
async fn a_router_behind_another_one_is_of_no_use() {
    let router = Ipv4Addr::new(127, 7, 0, 4);
    let mut asked = nat_pmp(router, Ipv4Addr::new(192, 168, 0, 2), 3600).await;
    let (ssdp, mut upnp_asked) = upnp(1).await;
    let mut mapping = PortMapping::with(Settings {
        router: Some(router),
        ssdp,
        lease: Duration::from_secs(3600),
        first_retry: RETRY,
    });
    mapping.want(&listening(&[4001]));
    assert_eq!(next(&mut asked).await, "lend 4001");
    assert_eq!(next(&mut asked).await, "return 4001");
    // The other way is tried, and gives a public address.
    assert_eq!(mapped(&mut mapping).await, ["/ip4/20.0.0.1/tcp/4001"]);
    assert_eq!(next(&mut upnp_asked).await, "lend 4001 to 127.0.0.1 4001");
    mapping.close().await;
}

#[test]
fn the_group_of_the_search_is_that_of_the_protocol() {
    assert!(SSDP.ip().is_multicast());
    assert_eq!(SSDP.to_string(), "239.255.255.250:1900");
}

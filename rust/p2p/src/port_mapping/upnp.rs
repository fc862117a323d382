//! UPnP: the port mapping of Internet Gateway Devices.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use igd_next::{
    AddPortError, PortMappingProtocol, SearchOptions,
    aio::{Gateway, tokio::Tokio, tokio::search_gateway},
};
use tokio::{net::UdpSocket, time::timeout};

/// How long a router may take to be found.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to answer once it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What people read in the list of ports of their router.
const DESCRIPTION: &str = "aicn";

/// A router that was found.
pub(super) struct Router {
    gateway: Gateway<Tokio>,
    /// Our address on the way to it.
    own: IpAddr,
}

/// Ask for `external`, or another port, to lead to `port`. Gives the address outside and for how long it is lent.
/// `found` keeps the router for the next time, while it answers; also if this is dropped half-way.
pub(super) async fn lend(
    found: &mut Option<Router>,
    ssdp: SocketAddr,
    port: u16,
    external: u16,
    lease: Duration,
) -> Result<(SocketAddrV4, Duration), String> {
    let router = match found {
        Some(router) => router,
        None => found.insert(Router::search(ssdp).await?),
    };
    let lent = answered(router.lend(port, external, lease)).await;
    if lent.is_err() {
        *found = None;
    }
    Ok((lent?, lease))
}

impl Router {
    async fn search(ssdp: SocketAddr) -> Result<Self, String> {
        let options = SearchOptions {
            broadcast_address: ssdp,
            timeout: Some(SEARCH_TIMEOUT),
            single_search_timeout: Some(SEARCH_TIMEOUT),
            ..SearchOptions::default()
        };
        let gateway = search_gateway(options).await.map_err(|why| why.to_string())?;
        let own = towards(gateway.addr).await.map_err(|why| why.to_string())?;
        Ok(Self { gateway, own })
    }

    async fn lend(&self, port: u16, external: u16, lease: Duration) -> Result<SocketAddrV4, String> {
        let IpAddr::V4(ip) = self.gateway.get_external_ip().await.map_err(|why| why.to_string())? else {
            return Err("the router has no IPv4 address outside".into());
        };
        let (tcp, own) = (PortMappingProtocol::TCP, SocketAddr::new(self.own, port));
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        match self.gateway.add_port(tcp, external, own, seconds, DESCRIPTION).await {
            Ok(()) => Ok(SocketAddrV4::new(ip, external)),
            Err(AddPortError::PortInUse) => {
                let other = self.gateway.add_any_port(tcp, own, seconds, DESCRIPTION).await;
                Ok(SocketAddrV4::new(ip, other.map_err(|why| why.to_string())?))
            }
            Err(why) => Err(why.to_string()),
        }
    }

    /// Give the lease of a port outside back.
    pub(super) async fn give_back(&self, external: u16) -> Result<(), String> {
        answered(async {
            self.gateway.remove_port(PortMappingProtocol::TCP, external).await.map_err(|why| why.to_string())
        })
        .await
    }
}

async fn answered<T>(asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(ANSWER_TIMEOUT, asking).await.map_err(|_| "the router did not answer in time".to_owned())?
}

/// The address that this machine has on the way to `there`.
async fn towards(there: SocketAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
    socket.connect(there).await?;
    Ok(socket.local_addr()?.ip())
}

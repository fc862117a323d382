//! The NAT port mapping protocol, RFC 6886.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    num::NonZeroU16,
    time::Duration,
};

use crab_nat::{GatewayAddress, InternetProtocol, PortMappingOptions, TimeoutConfig, natpmp};

/// How often and how long a router is asked: 250 ms, doubled twice. One that speaks the protocol is a hop away.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 2, max_retry_timeout: None };

/// Ask for `external`, or another port, to lead to `port`. Gives the address outside and for how long it is lent.
pub(super) async fn lend(
    router: Option<Ipv4Addr>,
    port: u16,
    external: u16,
    lease: Duration,
) -> Result<(SocketAddrV4, Duration), String> {
    let router = gateway(router).await?;
    let ip = natpmp::external_address(router, Some(PATIENCE)).await.map_err(|why| why.to_string())?;
    let options = PortMappingOptions {
        external_port: NonZeroU16::new(external),
        lifetime_seconds: Some(u32::try_from(lease.as_secs()).unwrap_or(u32::MAX)),
        timeout_config: Some(PATIENCE),
    };
    let mapping = natpmp::port_mapping(router, InternetProtocol::Tcp, number(port)?, options)
        .await
        .map_err(|why| why.to_string())?;
    Ok((SocketAddrV4::new(ip, mapping.external_port().get()), Duration::from_secs(mapping.lifetime().into())))
}

/// Give the lease of `port` back.
pub(super) async fn give_back(router: Option<Ipv4Addr>, port: u16) -> Result<(), String> {
    let router = gateway(router).await?;
    natpmp::try_drop_mapping(router, InternetProtocol::Tcp, Some(number(port)?), Some(PATIENCE))
        .await
        .map_err(|why| why.to_string())
}

fn number(port: u16) -> Result<NonZeroU16, String> {
    NonZeroU16::new(port).ok_or_else(|| "port 0 cannot be lent".to_owned())
}

async fn gateway(router: Option<Ipv4Addr>) -> Result<GatewayAddress, String> {
    if let Some(router) = router {
        return Ok(GatewayAddress::IpV4(router));
    }
    // Reads the tables of the system, which may take its time.
    let found = tokio::task::spawn_blocking(netdev::get_default_gateway).await.map_err(|why| why.to_string())??;
    let router = found.ipv4.first().copied().ok_or("this system has no default router")?;
    Ok(GatewayAddress::IpV4(router))
}

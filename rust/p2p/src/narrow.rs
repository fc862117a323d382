//! A behaviour that offers fewer protocols than it could, and gives up later than it would.
//!
//! gossipsub always offers `/meshsub/1.x` and takes a peer for a floodsub peer only if nothing else was agreed on.
//! Where the network is to flood, those names must not be offered at all; the crate has no setting for that.
//!
//! Its handler also falls silent for the whole life of a connection when the other side refuses its first stream. A
//! peer of the reference that has just started dials before it is ready to gossip, and refuses. So a refusal is held
//! back for a while and then told as a timeout, after which the handler tries again; it is held back no longer once
//! the other side opens a stream of its own.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, InboundUpgradeSend,
            ListenUpgradeError, OutboundUpgradeSend, UpgradeInfoSend,
        },
    },
};

/// How long the first, second and third refusal are held back. gossipsub counts attempts: the fifth, were it a success,
/// ends its handler for good.
const PATIENCE: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(1_500), Duration::from_secs(6)];

/// The one name to offer; `None` offers all.
pub(crate) type Name = Option<&'static str>;

/// `inner`, offering only what `name` allows.
pub(crate) struct Narrow<B> {
    pub(crate) inner: B,
    pub(crate) name: Name,
}

/// The handler of a [`Narrow`] behaviour.
pub(crate) struct NarrowHandler<H: ConnectionHandler> {
    inner: H,
    name: Name,
    /// How often the other side has refused.
    refusals: usize,
    /// A refusal that is held back, and until when.
    held: Option<(Pin<Box<tokio::time::Sleep>>, H::OutboundOpenInfo)>,
}

impl<H: ConnectionHandler> NarrowHandler<H> {
    fn new(inner: H, name: Name) -> Self {
        Self { inner, name, refusals: 0, held: None }
    }

    /// Tell of the refusal that is held back, as if the other side had been slow.
    fn release(&mut self) {
        if let Some((_, info)) = self.held.take() {
            let late = DialUpgradeError { info, error: StreamUpgradeError::Timeout };
            self.inner.on_connection_event(ConnectionEvent::DialUpgradeError(late));
        }
    }
}

/// An upgrade of a [`Narrow`] behaviour.
pub(crate) struct Offer<U> {
    upgrade: U,
    name: Name,
}

impl<U: UpgradeInfoSend> UpgradeInfo for Offer<U> {
    type Info = U::Info;
    type InfoIter = std::vec::IntoIter<U::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let allowed = |info: &U::Info| self.name.is_none_or(|name| info.as_ref() == name);
        self.upgrade.protocol_info().filter(allowed).collect::<Vec<_>>().into_iter()
    }
}

impl<U: InboundUpgradeSend> InboundUpgrade<Stream> for Offer<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_inbound(self, stream: Stream, info: U::Info) -> U::Future {
        self.upgrade.upgrade_inbound(stream, info)
    }
}

impl<U: OutboundUpgradeSend> OutboundUpgrade<Stream> for Offer<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_outbound(self, stream: Stream, info: U::Info) -> U::Future {
        self.upgrade.upgrade_outbound(stream, info)
    }
}

impl<H: ConnectionHandler> ConnectionHandler for NarrowHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Offer<H::InboundProtocol>;
    type OutboundProtocol = Offer<H::OutboundProtocol>;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        let name = self.name;
        self.inner.listen_protocol().map_upgrade(|upgrade| Offer { upgrade, name })
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some((until, _)) = &mut self.held
            && until.as_mut().poll(cx).is_ready()
        {
            self.release();
        }
        let name = self.name;
        self.inner.poll(cx).map(|event| event.map_protocol(|upgrade| Offer { upgrade, name }))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        let event = match event {
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                info,
                error: StreamUpgradeError::NegotiationFailed,
            }) if self.refusals < PATIENCE.len() => {
                self.held = Some((Box::pin(tokio::time::sleep(PATIENCE[self.refusals])), info));
                self.refusals += 1;
                return;
            }
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                self.release();
                ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info })
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error })
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
            }
            ConnectionEvent::AddressChange(change) => ConnectionEvent::AddressChange(change),
            ConnectionEvent::LocalProtocolsChange(change) => ConnectionEvent::LocalProtocolsChange(change),
            ConnectionEvent::RemoteProtocolsChange(change) => ConnectionEvent::RemoteProtocolsChange(change),
            _ => return,
        };
        self.inner.on_connection_event(event);
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Narrow<B> {
    type ConnectionHandler = NarrowHandler<B::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(id, peer, local, remote)?;
        Ok(NarrowHandler::new(inner, self.name))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addrs, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(id, peer, addr, role, port)?;
        Ok(NarrowHandler::new(inner, self.name))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::future::{Ready, ready};

    use super::*;

    /// An upgrade that needs no stream to have an output.
    #[derive(Clone)]
    struct Two;

    impl UpgradeInfo for Two {
        type Info = &'static str;
        type InfoIter = [&'static str; 2];

        fn protocol_info(&self) -> Self::InfoIter {
            ["/better", "/plain"]
        }
    }

    impl InboundUpgrade<Stream> for Two {
        type Output = ();
        type Error = Infallible;
        type Future = Ready<Result<(), Infallible>>;

        fn upgrade_inbound(self, _: Stream, _: &'static str) -> Self::Future {
            ready(Ok(()))
        }
    }

    impl OutboundUpgrade<Stream> for Two {
        type Output = ();
        type Error = Infallible;
        type Future = Ready<Result<(), Infallible>>;

        fn upgrade_outbound(self, _: Stream, _: &'static str) -> Self::Future {
            ready(Ok(()))
        }
    }

    /// A handler that notes what it is told.
    #[derive(Default)]
    struct Notes(Vec<&'static str>);

    impl ConnectionHandler for Notes {
        type FromBehaviour = Infallible;
        type ToBehaviour = Infallible;
        type InboundProtocol = Two;
        type OutboundProtocol = Two;
        type InboundOpenInfo = ();
        type OutboundOpenInfo = ();

        fn listen_protocol(&self) -> SubstreamProtocol<Two> {
            SubstreamProtocol::new(Two, ())
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Two, (), Infallible>> {
            Poll::Pending
        }

        fn on_behaviour_event(&mut self, event: Infallible) {
            match event {}
        }

        fn on_connection_event(&mut self, event: ConnectionEvent<'_, Two, Two>) {
            self.0.push(match event {
                ConnectionEvent::DialUpgradeError(DialUpgradeError { error: StreamUpgradeError::Timeout, .. }) => {
                    "late"
                }
                ConnectionEvent::DialUpgradeError(_) => "refused",
                ConnectionEvent::FullyNegotiatedInbound(_) => "inbound",
                _ => "else",
            });
        }
    }

    type Event<'a> = ConnectionEvent<'a, Offer<Two>, Offer<Two>>;

    fn refusal<'a>() -> Event<'a> {
        ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (), error: StreamUpgradeError::NegotiationFailed })
    }

    #[test]
    fn only_the_one_name_is_offered() {
        let offered = |name| UpgradeInfo::protocol_info(&Offer { upgrade: Two, name }).collect::<Vec<_>>();
        assert_eq!(offered(Some("/plain")), ["/plain"]);
        assert_eq!(offered(None), ["/better", "/plain"]);
    }

    #[tokio::test]
    async fn refusals_are_told_late_and_the_last_at_once() {
        let mut handler = NarrowHandler::new(Notes::default(), None);
        handler.on_connection_event(refusal());
        assert!(handler.inner.0.is_empty());
        tokio::time::timeout(
            PATIENCE[0] * 10,
            std::future::poll_fn(|cx| {
                let _ = handler.poll(cx);
                if handler.inner.0.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            }),
        )
        .await
        .expect("is told by itself");
        // A stream of the other side ends the waiting.
        handler.on_connection_event(refusal());
        let inbound = FullyNegotiatedInbound { protocol: (), info: () };
        handler.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(inbound));
        handler.on_connection_event(refusal());
        handler.release();
        handler.on_connection_event(refusal());
        assert_eq!(handler.inner.0, ["late", "late", "inbound", "late", "refused"]);
    }
}

//! One connection's part of carrying streams: negotiate, hand over, refuse.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{Ready, ready};
use libp2p::{
    PeerId, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;

use crate::{
    command::{OpenRequest, answer},
    error::Error,
    seldom::Seldom,
    stream::{LiveStream, LiveStreams, Stream},
    stream_task,
};

/// How long an inbound stream may take to name its protocol.
const INBOUND_NEGOTIATION: Duration = Duration::from_secs(10);

/// Streams of applications that a connection carries in either direction at once.
const MAX_LIVE_STREAMS: usize = 2048;

static OVERFLOW: Seldom = Seldom::new();

/// Offers names and yields the bare stream with the name that was agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Named(Vec<StreamProtocol>);

impl UpgradeInfo for Named {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<libp2p::Stream> for Named {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<libp2p::Stream> for Named {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

/// What the behaviour asks of a handler.
#[derive(Debug)]
pub(crate) enum Instruction {
    /// Open a stream.
    Open(OpenRequest),
    /// Nothing, but let every handler of the connection have a look at its queues.
    Wake,
}

/// The handler of one connection.
pub(crate) struct Handler {
    peer: PeerId,
    relayed: bool,
    protocols: Arc<[StreamProtocol]>,
    inbound: mpsc::Sender<Stream>,
    requests: VecDeque<OpenRequest>,
    live: Arc<LiveStreams>,
}

impl Handler {
    pub(crate) fn new(
        peer: PeerId,
        relayed: bool,
        protocols: Arc<[StreamProtocol]>,
        inbound: mpsc::Sender<Stream>,
        live: Arc<LiveStreams>,
    ) -> Self {
        Self { peer, relayed, protocols, inbound, requests: VecDeque::new(), live }
    }

    fn on_inbound(&self, io: libp2p::Stream, name: &StreamProtocol) {
        let peer = self.peer;
        // A slot first: a stream that nobody will take needs no task. Dropping `io` resets it.
        let Ok(slot) = self.inbound.try_reserve() else {
            if OVERFLOW.is_due() {
                log::warn!("the queue of inbound streams is full: a stream of {peer} for {name} was reset");
            }
            return;
        };
        let Some(live) = LiveStream::enter(&self.live, MAX_LIVE_STREAMS) else {
            if OVERFLOW.is_due() {
                log::warn!("{peer} holds {MAX_LIVE_STREAMS} streams open: a new one for {name} was reset");
            }
            return;
        };
        slot.send(stream_task::spawn(io, peer, name.to_string(), self.relayed, live));
    }

    fn on_outbound(&self, io: libp2p::Stream, request: OpenRequest) {
        if request.reply.is_closed() {
            return;
        }
        match LiveStream::enter(&self.live, MAX_LIVE_STREAMS) {
            Some(live) => {
                let stream = stream_task::spawn(io, self.peer, request.protocol.to_string(), self.relayed, live);
                answer(request.reply, Ok(stream));
            }
            None => answer(
                request.reply,
                Err(Error::Overloaded(format!(
                    "the connection to {} carries {MAX_LIVE_STREAMS} streams already: retry when some have ended",
                    self.peer
                ))),
            ),
        }
    }

    fn on_refused(&self, request: OpenRequest, error: StreamUpgradeError<Infallible>) {
        let (peer, name) = (self.peer, &request.protocol);
        let error = match error {
            StreamUpgradeError::NegotiationFailed => {
                Error::StreamRefused(format!("{peer} does not speak {name}: try another peer"))
            }
            StreamUpgradeError::Timeout => Error::Timeout(format!(
                "{peer} did not open a stream for {name} within {} ms: try another peer",
                request.timeout.as_millis()
            )),
            StreamUpgradeError::Io(why) => {
                // Most likely the connection is going; the handle asks again when its slot is dropped unanswered.
                log::debug!("{peer} broke off while a stream for {name} was opened: {why}");
                return;
            }
            StreamUpgradeError::Apply(never) => match never {},
        };
        answer(request.reply, Err(error));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Instruction;
    type ToBehaviour = Infallible;
    type InboundProtocol = Named;
    type OutboundProtocol = Named;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenRequest;

    fn listen_protocol(&self) -> SubstreamProtocol<Named> {
        SubstreamProtocol::new(Named(self.protocols.to_vec()), ()).with_timeout(INBOUND_NEGOTIATION)
    }

    fn connection_keep_alive(&self) -> bool {
        // Connections are trimmed by policy, not by idleness.
        true
    }

    fn on_behaviour_event(&mut self, instruction: Instruction) {
        match instruction {
            // Bounded: the handle admits a fixed number of unanswered requests.
            Instruction::Open(request) => self.requests.push_back(request),
            // That this was delivered is what wakes the connection.
            Instruction::Wake => {}
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Named, OpenRequest, Infallible>> {
        while let Some(request) = self.requests.pop_front() {
            if request.reply.is_closed() {
                continue;
            }
            let offer = Named(vec![request.protocol.clone()]);
            let timeout = request.timeout;
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(offer, request).with_timeout(timeout),
            });
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Named, Named, (), OpenRequest>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (io, name), .. }) => {
                self.on_inbound(io, &name);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (io, _), info }) => {
                self.on_outbound(io, info);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => self.on_refused(info, error),
            _ => {}
        }
    }
}

"""What goes over gossip beside heartbeats: questions to other nodes, and the answers to theirs."""

from __future__ import annotations

from aicn.backends import BackendClient
from aicn.clock import Clock
from aicn.config import Config
from aicn.identity import PrivateKey
from aicn.node.settings import AGENT_VERSION, node_flags
from aicn.p2p.host import GossipMessage, Host
from aicn.p2p.rpc import Publish, Rpc
from aicn.peers import HeartbeatInbox
from aicn.registry import ModelRegistry
from aicn.serving import GossipMail, GossipModels, GossipServer, NodeFacts
from aicn.telemetry import Metrics, Observer, metrics
from aicn.wire.messages import HostInfoResponse


class Questions:
    """Asks and answers over gossip for one node.

    Attributes:
        facts: what the node tells of itself.
        rpc: asks other nodes.
        server: answers them.
    """

    def __init__(
        self,
        host: Host,
        config: Config,
        *,
        publish: Publish,
        heartbeats: HeartbeatInbox,
        registry: ModelRegistry,
        backends: BackendClient,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            host: who this node is.
            config: its identity, and what kind of node it is.
            publish: sends a payload to the network.
            heartbeats: reads the messages that are for everybody.
            registry: what is served here.
            backends: brings requests to the model servers.
            clock: for times and rates.
            observer: told of each use of a model.
        """
        own_key = PrivateKey.from_base64(config.identity.priv_key)
        self.facts = NodeFacts(host, registry, node_flags(config), _read_hardware, agent_version=AGENT_VERSION)
        self.rpc = Rpc(own_key, publish, clock, AGENT_VERSION)
        self.server = GossipServer(
            own_key,
            publish,
            clock,
            AGENT_VERSION,
            facts=self.facts,
            models=GossipModels(registry, backends, observer),
        )
        self._mail = GossipMail(host.peer_id, heartbeats, self.rpc, self.server)

    def receive(self, gossip: GossipMessage) -> None:
        """Take in any message of the topic; a `GossipHandler`."""
        self._mail.receive(gossip)

    def count_in(self, counted: Metrics) -> None:
        """Have `counted` read what has become of questions and replies."""
        counted.read(metrics.QUESTIONS, lambda: [((how.value,), n) for how, n in self.server.outcomes.items()])
        counted.read(metrics.REPLIES, lambda: [((how.value,), n) for how, n in self.rpc.outcomes.items()])

    async def drain(self) -> None:
        """Ask nothing any more, and let the questions of others end, for a moment."""
        self.rpc.close()
        await self.server.drain()


async def _read_hardware() -> HostInfoResponse:
    # Imported late: nobody may ever ask, and what reads a machine takes memory.
    from aicn.upkeep.hardware import read_hardware  # noqa: PLC0415

    return await read_hardware()

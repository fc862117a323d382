"""The metrics that are read from the parts of a node when somebody looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from aicn import __version__
from aicn.p2p.dialer import Dialer
from aicn.p2p.host import Host
from aicn.peers import Directory, HeartbeatInbox
from aicn.registry import ModelRegistry, ModelState
from aicn.routing import RetryBudget, Selector
from aicn.telemetry import Metrics, metrics
from aicn.telemetry.metrics import Labels


def read_network(counted: Metrics, host: Host, directory: Directory, inbox: HeartbeatInbox) -> None:
    """Have `counted` read what is known of the network."""

    def connected() -> Iterable[tuple[Labels, float]]:
        paths = Counter(
            (connection.direction.value, "relayed" if connection.relayed else "direct")
            for connection in host.connections()
        )
        return [(labels, float(number)) for labels, number in paths.items()]

    counted.read(metrics.PEERS_CONNECTED, connected)
    counted.read(metrics.DIRECTORY_PEERS, _one(lambda: len(directory)))
    counted.read(metrics.CANDIDATES, _one(directory.eligible_instances))
    counted.read(metrics.GOSSIP, lambda: [((outcome.value,), number) for outcome, number in inbox.outcomes.items()])


def read_routing(counted: Metrics, selector: Selector, budget: RetryBudget) -> None:
    """Have `counted` read how requests find their way."""
    counted.read(metrics.AVOIDED, _one(selector.open_breakers))
    counted.read(metrics.RETRIES_REFUSED, _one(lambda: budget.refused))


def read_node(counted: Metrics, registry: ModelRegistry, dialer: Dialer) -> None:
    """Have `counted` read what is known of this node, which must have started."""
    counted.read(metrics.BUILD, lambda: [((__version__,), 1.0)])
    counted.read(metrics.MODELS, _one(lambda: len(registry.models())))
    counted.read(metrics.MODEL_STATES, lambda: _states(registry))
    counted.read(metrics.DIALS, lambda: [((result,), number) for result, number in dialer.dials.items()])


def _states(registry: ModelRegistry) -> Iterable[tuple[Labels, float]]:
    """Count the instances in every state, those without any too: what falls to zero must be seen to."""
    standing = Counter(registry.state(model) for model in registry.models())
    return [((state.value,), float(standing[state])) for state in ModelState]


def _one(value: Callable[[], int]) -> Callable[[], Iterable[tuple[Labels, float]]]:
    return lambda: [((), float(value()))]

"""The watch over the model servers of this node, as the configuration wants it."""

from __future__ import annotations

from aicn import defaults
from aicn.backends import BackendClient, probe
from aicn.clock import Clock
from aicn.registry import HealthMonitor, ModelRegistry


async def watch_model_servers(
    registry: ModelRegistry, requests: BackendClient, interval_s: float, clock: Clock
) -> None:
    """Withdraw the models of `registry` whose servers do not answer, until cancelled.

    Args:
        registry: of this node.
        requests: brings requests to the servers; what it sees of them saves questions.
        interval_s: how often a server is asked that nobody used meanwhile.
        clock: for every age.
    """
    # Its own client: requests that wait for a connection must not make servers look dead.
    asking = BackendClient(idle_timeout_s=defaults.HEALTH_TIMEOUT_S)
    monitor = HealthMonitor(registry, lambda url: probe(asking, url), interval_s=interval_s, clock=clock)
    requests.heard, requests.missed = monitor.answered, monitor.failed
    try:
        await monitor.run()
    finally:
        await asking.close()

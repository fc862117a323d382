"""What a node keeps and counts of its own work: the history and the metrics, started and stopped with it."""

from __future__ import annotations

from contextlib import AsyncExitStack

from aicn import __version__
from aicn.clock import Clock
from aicn.config import OwnConfig
from aicn.ids import PeerId
from aicn.node.background import Background
from aicn.node.uses import UseRecorder
from aicn.store import History, Store
from aicn.telemetry import Metrics, metrics, watch_loop_lag
from aicn.telemetry.traces import Traces


class Records:
    """Owns the metrics, the history and what feeds them.

    Attributes:
        counted: the metrics.
        observer: to be told of each use of a model.
    """

    def __init__(self, settings: OwnConfig, own_id: PeerId, clock: Clock) -> None:
        """Count from now on; keep a history from `start` on, if `settings` want one."""
        self._settings = settings.history
        self._traces_endpoint = settings.traces.endpoint
        self._clock = clock
        self.counted = Metrics()
        self.observer = UseRecorder(self.counted, own_id, clock, keeps_prompts=settings.history.prompts)

    def start(self, started: AsyncExitStack, background: Background, store: Store) -> None:
        """Begin to write. What has come to an end when `started` unwinds to here is written before the store closes.

        Raises:
            ConfigError: traces are wanted and cannot be sent.
        """
        if self._traces_endpoint:
            self.observer.traces = traces = Traces(
                self._traces_endpoint, node=self.observer.own_id, version=__version__
            )
            started.push_async_callback(traces.close)
        settings = self._settings
        keeps_words = settings.enabled and settings.prompts
        # A history that is switched off takes nothing more; what it has grows old all the same.
        history = History(
            store,
            self._clock,
            max_age_s=settings.max_age_s,
            max_entries=settings.max_entries,
            **({} if keeps_words else {"max_prompts": 0}),
        )
        if settings.enabled:
            self.observer.keep_in(history)
        self.counted.read(metrics.HISTORY_PENDING, lambda: [((), history.pending)])
        self.counted.read(metrics.HISTORY_LOST, lambda: [((), history.lost)])
        started.push_async_callback(history.close)
        background.spawn("history", history.run(), history.stop)
        background.spawn("loop lag", watch_loop_lag(self.counted, self._clock))

"""Every metric of a node, declared once, and what was counted.

Counting is a dictionary and an addition: the paths of requests pay less than a microsecond for each. What is asked
for rarely, the number of connections say, is read when somebody looks. `aicn.telemetry.exposition` writes the text.
Names follow Prometheus, and OpenTelemetry's for generative models where those fit. `docs/metrics.md` describes each;
a test holds it to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aicn import defaults

Labels = tuple[str, ...]
"""Values in the order of `Metric.labels`."""

Reading = Callable[[], Iterable[tuple[Labels, float]]]
"""Returns what a metric is now. Called on the event loop; must not wait."""


class MetricKind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    """Only grows; starts from zero with the node."""
    GAUGE = "gauge"
    """Goes up and down."""
    HISTOGRAM = "histogram"
    """Counts by size."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. Units: seconds, bytes, or a count."""

    name: str
    """As it is scraped; a counter's ends in `_total`."""
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, ascending, without infinity."""


_USE: Final = ("side", "kind", "project", "model")
"""Labels of everything that is told of the uses of models."""

_DURATION_BUCKETS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""As OpenTelemetry advises for the duration of a request to a model."""

_FIRST_TOKEN_BUCKETS_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""As OpenTelemetry advises for the time to the first token."""

_TOKEN_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""As OpenTelemetry advises for the time per output token."""

_LAG_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""From unnoticed to a stream that visibly stops."""

REQUESTS: Final = Metric(
    "aicn_requests_total", MetricKind.COUNTER, "Uses of models that ended, by how they ended.", (*_USE, "outcome")
)
IN_FLIGHT: Final = Metric("aicn_requests_in_flight", MetricKind.GAUGE, "Uses of models under way.", ("side", "kind"))
DURATION: Final = Metric(
    "gen_ai_server_request_duration_seconds",
    MetricKind.HISTOGRAM,
    "From the beginning of a use of a model to its end, whatever the end.",
    _USE,
    _DURATION_BUCKETS_S,
)
FIRST_TOKEN: Final = Metric(
    "gen_ai_server_time_to_first_token_seconds",
    MetricKind.HISTOGRAM,
    "From the beginning of a use of a model to the first content of its answer, failures left out.",
    _USE,
    _FIRST_TOKEN_BUCKETS_S,
)
TOKEN_TIME: Final = Metric(
    "gen_ai_server_time_per_output_token_seconds",
    MetricKind.HISTOGRAM,
    "From the first content of an answer to its end, per token after the first.",
    _USE,
    _TOKEN_BUCKETS_S,
)
TOKENS: Final = Metric(
    "aicn_tokens_total",
    MetricKind.COUNTER,
    "Tokens that answers told in their usage, of the question (input) and of the answer (output).",
    (*_USE, "type"),
)
IMAGES: Final = Metric("aicn_images_total", MetricKind.COUNTER, "Images in answers.", _USE)
ANSWER_BYTES: Final = Metric("aicn_answer_bytes_total", MetricKind.COUNTER, "Bytes of answers, without heads.", _USE)
ATTEMPTS: Final = Metric("aicn_attempts_total", MetricKind.COUNTER, "Peers that were tried for requests.", ("kind",))
QUEUE_TIME: Final = Metric(
    "aicn_queue_time_seconds",
    MetricKind.HISTOGRAM,
    "How long requests of users waited for their turn, of those that had to.",
    ("kind",),
    _DURATION_BUCKETS_S,
)
QUEUED: Final = Metric("aicn_requests_queued", MetricKind.GAUGE, "Requests of users that wait for their turn.")
PEERS_CONNECTED: Final = Metric(
    "aicn_peers_connected", MetricKind.GAUGE, "Connected peers, by who dialled and by the path.", ("direction", "path")
)
DIRECTORY_PEERS: Final = Metric(
    "aicn_directory_peers", MetricKind.GAUGE, "Peers heard by heartbeat in the last 24 hours."
)
CANDIDATES: Final = Metric(
    "aicn_candidates", MetricKind.GAUGE, "Instances of models on peers heard recently enough to be asked."
)
AVOIDED: Final = Metric(
    "aicn_instances_avoided", MetricKind.GAUGE, "Instances of models that are not asked for now, because they failed."
)
RETRIES_REFUSED: Final = Metric(
    "aicn_retries_refused_total", MetricKind.COUNTER, "Attempts after the first that the retry budget did not allow."
)
MODELS: Final = Metric("aicn_models_registered", MetricKind.GAUGE, "Instances of models that this node serves.")
MODEL_STATES: Final = Metric(
    "aicn_models", MetricKind.GAUGE, "Instances of models that this node has, by how they stand.", ("state",)
)
GOSSIP: Final = Metric(
    "aicn_gossip_messages_total", MetricKind.COUNTER, "Gossip messages received, by what became of them.", ("outcome",)
)
QUESTIONS: Final = Metric(
    "aicn_gossip_questions_total",
    MetricKind.COUNTER,
    "Questions of other nodes over gossip, by what became of them.",
    ("outcome",),
)
REPLIES: Final = Metric(
    "aicn_gossip_replies_total",
    MetricKind.COUNTER,
    "Replies to questions of this node over gossip, by what became of them.",
    ("outcome",),
)
PUBLISHED: Final = Metric("aicn_gossip_published_total", MetricKind.COUNTER, "Gossip messages sent.")
DIALS: Final = Metric("aicn_dials_total", MetricKind.COUNTER, "Dials of this node's own accord.", ("result",))
LOOP_LAG: Final = Metric(
    "aicn_event_loop_lag_seconds",
    MetricKind.HISTOGRAM,
    "How late the event loop woke what should have run, measured once a second.",
    (),
    _LAG_BUCKETS_S,
)
HISTORY_PENDING: Final = Metric(
    "aicn_history_pending", MetricKind.GAUGE, "Entries of the history that wait to be written."
)
HISTORY_LOST: Final = Metric(
    "aicn_history_lost_total", MetricKind.COUNTER, "Entries of the history that could not be kept."
)
BUILD: Final = Metric("aicn_build_info", MetricKind.GAUGE, "Always 1; its labels say what runs.", ("version",))

DECLARED: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""Every metric of ours, in the order of their declaration."""


@dataclass(slots=True)
class Histogram:
    """Values counted by size."""

    counts: list[int]
    """One for each bucket, and one for what is beyond the last; not cumulative."""
    total: float = 0.0
    """Sum of the values."""


Cell = float | Histogram


class Metrics:
    """What was counted. Use from one event loop."""

    def __init__(self) -> None:
        """Start from zero."""
        self._cells: dict[Metric, dict[Labels, float]] = {}
        self._histograms: dict[Metric, dict[Labels, Histogram]] = {}
        self._readings: dict[Metric, Reading] = {}

    def add(self, metric: Metric, labels: Labels = (), amount: float = 1.0) -> None:
        """Add `amount` to a counter or gauge."""
        cells = self._cells.setdefault(metric, {})
        cells[labels] = cells.get(labels, 0.0) + amount

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Count `value` in a histogram."""
        cells = self._histograms.setdefault(metric, {})
        cell = cells.get(labels)
        if cell is None:
            cell = cells[labels] = Histogram([0] * (len(metric.buckets) + 1))
        cell.counts[bisect_left(metric.buckets, value)] += 1
        cell.total += value

    def read(self, metric: Metric, reading: Reading) -> None:
        """Ask `reading` for the values of `metric` whenever somebody looks."""
        self._readings[metric] = reading

    def snapshot(self) -> list[tuple[Metric, dict[Labels, Cell]]]:
        """Return what every declared metric is now; nothing of it changes afterwards."""
        return [(metric, self._now(metric)) for metric in DECLARED]

    def _now(self, metric: Metric) -> dict[Labels, Cell]:
        if metric in self._readings:
            return dict(self._readings[metric]())
        if metric.kind is MetricKind.HISTOGRAM:
            found = self._histograms.get(metric, {})
            return {labels: Histogram(cell.counts.copy(), cell.total) for labels, cell in found.items()}
        return {**self._cells.get(metric, {})}


class ModelLabels:
    """Keeps the number of models in labels bounded: the first so many keep their names, all later ones are `other`."""

    OTHER: Final = ("other", "other")

    def __init__(self, max_models: int = defaults.METRICS_MAX_MODELS) -> None:
        """Know none yet; name `max_models` of them."""
        self._max_models = max_models
        self._known: set[tuple[str, str]] = set()

    def of(self, project: str, model: str, *, exists: bool) -> tuple[str, str]:
        """Return the labels for a model.

        Args:
            project: of the model.
            model: as it was asked for.
            exists: whether somebody serves it; a name that only a caller knows takes no place.
        """
        name = (project, model)
        if name not in self._known:
            if not exists or len(self._known) >= self._max_models:
                return self.OTHER
            self._known.add(name)
        return name

"""Metrics as Prometheus reads them. The library that writes the text is loaded when somebody looks for the first time.

Loaded at the start it would add 2.6 MB to the memory of every node, of which few are ever scraped.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from aicn.telemetry.metrics import Cell, Histogram, Labels, Metric, MetricKind

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Snapshot = list[tuple[Metric, dict[Labels, Cell]]]


def render(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """Return the text and its content type. May be called in any thread; takes milliseconds.

    Args:
        snapshot: what `Metrics.snapshot` returned.
        accept: the Accept header of the request, which chooses between Prometheus text and OpenMetrics.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Ours(Collector):
        def collect(self) -> Iterator[Family]:
            return _families(snapshot)

    registry = CollectorRegistry(auto_describe=False)
    # The process: memory, processor time, open files, start time; where the operating system tells them.
    ProcessCollector(registry=registry)
    registry.register(Ours())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _families(snapshot: Snapshot) -> Iterator[Family]:
    from prometheus_client.metrics_core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    for metric, cells in snapshot:
        if metric.kind is MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            bounds = (*(str(bound) for bound in metric.buckets), "+Inf")
            for labels, cell in cells.items():
                if isinstance(cell, Histogram):
                    histogram.add_metric(labels, list(zip(bounds, accumulate(cell.counts), strict=True)), cell.total)
            yield histogram
            continue
        family = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
        plain = family(metric.name, metric.help, labels=metric.labels)
        for labels, cell in cells.items():
            if not isinstance(cell, Histogram):
                plain.add_metric(labels, cell)
        yield plain

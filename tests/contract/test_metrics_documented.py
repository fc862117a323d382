"""Every metric is described as it is declared, and no other is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aicn.peers.inbox import Outcome as GossipOutcome
from aicn.telemetry import DECLARED, Metric, Outcome
from aicn.telemetry.metrics import MetricKind

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
ROWS = {name: (kind, re.findall(r"`(\w+)`", labels), meaning) for name, kind, labels, meaning in ROW.findall(TEXT)}


@pytest.mark.parametrize("metric", DECLARED, ids=[metric.name for metric in DECLARED])
def test_a_metric_is_described_as_it_is_declared(metric: Metric) -> None:
    assert ROWS[metric.name] == (metric.kind.value, list(metric.labels), metric.help)


def test_nothing_else_is_described() -> None:
    assert sorted(set(ROWS) - {metric.name for metric in DECLARED}) == []


def test_names_follow_the_custom() -> None:
    for metric in DECLARED:
        assert re.fullmatch(r"(aicn|gen_ai)_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert len({*metric.labels}) == len(metric.labels)
    assert len({metric.name for metric in DECLARED}) == len(DECLARED)


def test_every_outcome_is_described() -> None:
    named = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", TEXT, re.MULTILINE))
    assert named == {outcome.value for outcome in Outcome}
    for outcome in GossipOutcome:
        assert f"`{outcome.value}`" in TEXT

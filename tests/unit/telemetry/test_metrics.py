"""Metrics count what they are told, stay bounded, and are written as Prometheus reads them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from aicn.clock import SystemClock
from aicn.telemetry import Metrics, ModelLabels, metrics, render, watch_loop_lag
from support.hosts import until

USE = ("input", "chat", "P", "m")


def scraped(counted: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return every sample by name and labels, as a Prometheus server reads them."""
    text, content_type = render(counted.snapshot())
    assert content_type.startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in parse(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def test_counters_and_gauges() -> None:
    counted = Metrics()
    for _ in range(3):
        counted.add(metrics.REQUESTS, (*USE, "ok"))
    counted.add(metrics.REQUESTS, (*USE, "cut"))
    counted.add(metrics.TOKENS, (*USE, "output"), 40)
    counted.add(metrics.IN_FLIGHT, ("input", "chat"))
    counted.add(metrics.IN_FLIGHT, ("input", "chat"), -1)
    found = scraped(counted)
    use = {"side": "input", "kind": "chat", "project": "P", "model": "m"}
    assert found["aicn_requests_total"] == {labels(**use, outcome="ok"): 3, labels(**use, outcome="cut"): 1}
    assert found["aicn_tokens_total"] == {labels(**use, type="output"): 40}
    assert found["aicn_requests_in_flight"] == {labels(side="input", kind="chat"): 0}


def test_histograms_are_cumulative() -> None:
    counted = Metrics()
    for value_s in (0.0005, 0.001, 0.003, 9.0, 1_000.0):
        counted.observe(metrics.FIRST_TOKEN, USE, value_s)
    found = scraped(counted)
    name = "gen_ai_server_time_to_first_token_seconds"
    buckets = {dict(key)["le"]: value for key, value in found[f"{name}_bucket"].items()}
    assert (buckets["0.001"], buckets["0.005"], buckets["7.5"], buckets["10.0"], buckets["+Inf"]) == (2, 3, 3, 4, 5)
    assert list(found[f"{name}_count"].values()) == [5]
    assert list(found[f"{name}_sum"].values()) == [pytest.approx(1_009.0045)]


def test_what_is_read_is_read_when_somebody_looks() -> None:
    counted = Metrics()
    peers = 1
    counted.read(metrics.DIRECTORY_PEERS, lambda: [((), peers)])
    assert scraped(counted)["aicn_directory_peers"] == {(): 1}
    peers = 5
    assert scraped(counted)["aicn_directory_peers"] == {(): 5}


def test_a_snapshot_does_not_change_afterwards() -> None:
    counted = Metrics()
    counted.observe(metrics.LOOP_LAG, (), 0.002)
    counted.add(metrics.PUBLISHED)
    before = counted.snapshot()
    counted.observe(metrics.LOOP_LAG, (), 0.002)
    counted.add(metrics.PUBLISHED)
    text = render(before)[0].decode()
    assert "aicn_gossip_published_total 1.0" in text
    assert "aicn_event_loop_lag_seconds_count 1.0" in text


def test_names_that_need_it_are_escaped() -> None:
    counted = Metrics()
    counted.add(metrics.REQUESTS, ("input", "chat", 'a"b\\c', "line\nbreak é", "ok"))
    (sample,) = scraped(counted)["aicn_requests_total"]
    assert dict(sample)["project"] == 'a"b\\c'
    assert dict(sample)["model"] == "line\nbreak é"


def test_openmetrics_for_those_who_ask() -> None:
    counted = Metrics()
    counted.add(metrics.REQUESTS, (*USE, "ok"))
    counted.observe(metrics.DURATION, USE, 0.5)
    text, content_type = render(counted.snapshot(), "application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    assert families["aicn_requests"].samples[0].value == 1


def test_the_process_is_told_of() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells")
    found = scraped(Metrics())
    assert found["process_resident_memory_bytes"][()] > 1_000_000
    assert found["process_cpu_seconds_total"][()] > 0


def test_models_in_labels_are_bounded() -> None:
    named = ModelLabels(max_models=2)
    assert named.of("P", "invented", exists=False) == ("other", "other")
    assert named.of("P", "a", exists=True) == ("P", "a")
    assert named.of("P", "b", exists=True) == ("P", "b")
    assert named.of("P", "c", exists=True) == ("other", "other")
    assert named.of("P", "a", exists=False) == ("P", "a")


async def test_loop_lag_is_seen() -> None:
    counted = Metrics()
    watch = asyncio.create_task(watch_loop_lag(counted, SystemClock(), interval_s=0.001))
    await until(lambda: "aicn_event_loop_lag_seconds_count" in scraped(counted))
    watch.cancel()
    await asyncio.wait([watch])


def test_the_library_is_not_loaded_before_somebody_looks() -> None:
    program = "import sys, aicn.telemetry; print('prometheus_client' in sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"

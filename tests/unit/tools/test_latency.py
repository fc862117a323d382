"""Percentiles by nearest rank."""

from __future__ import annotations

from aicn.tools.latency import PERCENTS, Latencies


def test_none() -> None:
    assert Latencies.of([]) is None


def test_one() -> None:
    assert Latencies.of([7.0]) == Latencies(7.0, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_a_hundred() -> None:
    times = [float(number * 37 % 101) for number in range(1, 101)]  # each of 1 to 100 once, in disorder
    assert Latencies.of(times) == Latencies(50.5, 50.0, 90.0, 95.0, 99.0, 100.0)


def test_the_rank_is_the_first_that_covers_the_share() -> None:
    for count in range(1, 200):
        times = [float(number * 7_919 % 211) for number in range(count)]
        found = Latencies.of(times)
        assert found is not None
        for percent, value in zip(PERCENTS, found[1:5], strict=True):
            assert sum(time <= value for time in times) * 100 >= percent * count
            assert sum(time < value for time in times) * 100 < percent * count

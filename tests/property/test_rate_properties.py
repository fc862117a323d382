"""Rates of keys: never more than the limit allows, and never later than the refusal said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aicn.api.rates import Buckets

limits = st.integers(1, 100_000)
gaps = st.lists(st.floats(0.0, 90.0), min_size=1, max_size=60)


@given(limits, gaps, st.floats(0.1, 50.0))
def test_in_no_stretch_of_time_is_more_used_than_a_full_bucket_and_what_has_flowed_in(
    per_minute: int, waits: list[float], amount: float
) -> None:
    amount = min(amount, float(per_minute))
    buckets, now_s = Buckets(), 0.0
    used_at: list[float] = []
    for wait_s in waits:
        now_s += wait_s
        bucket = buckets.of("key", per_minute, now_s)
        if bucket.missing_s(amount) == 0.0:
            bucket.level -= amount
            used_at.append(now_s)
    for number, begin_s in enumerate(used_at):
        for more, end_s in enumerate(used_at[number:], start=1):
            assert more * amount <= per_minute * (1.0 + (end_s - begin_s) / 60.0) * (1 + 1e-9) + 1e-6


@given(limits, st.floats(-5.0, 1.0), st.floats(0.01, 2.0))
def test_the_time_to_come_again_is_exact(per_minute: int, level: float, asked: float) -> None:
    buckets = Buckets()
    bucket = buckets.of("key", per_minute, 0.0)
    bucket.level = level * per_minute
    amount = asked * per_minute
    missing_s = bucket.missing_s(amount)
    assert missing_s <= 6 * 60.0
    if missing_s > 0.01:
        assert buckets.of("key", per_minute, missing_s - 0.005).missing_s(amount) > 0.0
    assert buckets.of("key", per_minute, missing_s + 1e-6).missing_s(amount) < 1e-6


@given(limits, limits, st.lists(st.floats(0.0, 1e9), max_size=20))
def test_a_bucket_never_holds_more_than_a_minute(first: int, second: int, waits: list[float]) -> None:
    buckets, now_s = Buckets(), 0.0
    for number, wait_s in enumerate(waits):
        now_s += wait_s
        limit = first if number % 2 else second
        assert buckets.of("key", limit, now_s).level <= limit

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from aicn import defaults
from aicn.ids import InstanceId, PeerId
from aicn.routing import Candidate, order

STEP = defaults.RTT_STEP_US


def _candidate(
    name: str, *, in_flight: int = 0, connected: bool = True, relayed: bool = False, rtt_us: int | None = 0
) -> Candidate:
    return Candidate(PeerId(name), InstanceId(""), in_flight, connected, relayed, rtt_us)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param({}, {"connected": False}, id="connected first"),
        pytest.param({"in_flight": 9}, {"connected": False}, id="even when busier"),
        pytest.param({"in_flight": 1, "relayed": True, "rtt_us": 9 * STEP}, {"in_flight": 2}, id="less busy first"),
        pytest.param({"rtt_us": 9 * STEP}, {"relayed": True}, id="direct first"),
        pytest.param({"rtt_us": STEP - 1}, {"rtt_us": STEP}, id="nearer first"),
        pytest.param({"rtt_us": STEP}, {"rtt_us": None}, id="measured and near before unknown"),
        pytest.param({"rtt_us": None}, {"rtt_us": defaults.RTT_UNKNOWN_US + STEP}, id="unknown before far"),
    ],
)
def test_better_comes_first(better: dict[str, Any], worse: dict[str, Any]) -> None:
    good, bad = _candidate("good", **better), _candidate("bad", **worse)
    # A tiebreak that favours the bad one must not matter.
    assert order([bad, good], count().__next__) == [good, bad]
    assert order([good, bad], iter([1.0, 0.0]).__next__) == [good, bad]


def test_equals_share_by_tiebreak() -> None:
    first, second = _candidate("first", rtt_us=STEP - 1), _candidate("second", rtt_us=0)
    assert order([first, second], iter([0.0, 1.0]).__next__) == [first, second]
    assert order([first, second], iter([1.0, 0.0]).__next__) == [second, first]


def test_nobody_is_left_out() -> None:
    many = [_candidate(str(number), in_flight=number % 7) for number in range(100)]
    assert sorted(order(many, lambda: 0.0), key=lambda each: int(each.peer)) == many

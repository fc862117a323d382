from __future__ import annotations

from typing import Any

import pytest

from aicn import defaults
from aicn.routing.policy import Facts, cost

STEP = defaults.RTT_STEP_US
USUAL: dict[str, Any] = {"in_flight": 0, "first_s": 0.5, "token_s": 0.02, "rtt_us": 0}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param({}, {"in_flight": 1}, id="idle"),
        pytest.param({"first_s": 0.1}, {}, id="sooner"),
        pytest.param({"token_s": 0.01}, {}, id="faster"),
        pytest.param({"first_s": 0.6, "token_s": 0.01}, {}, id="faster counts more than sooner"),
        pytest.param({"in_flight": 1, "first_s": 0.1, "token_s": 0.005}, {}, id="fast and busy before slow and idle"),
        pytest.param({"in_flight": 1}, {"failing": 1.0}, id="busy before failing"),
        pytest.param({}, {"relayed": True}, id="direct"),
        pytest.param({"relayed": True}, {"in_flight": 1}, id="idle behind a relay before busy"),
        pytest.param({"rtt_us": STEP - 1}, {"rtt_us": STEP}, id="nearer"),
        pytest.param({"rtt_us": STEP}, {"rtt_us": None}, id="measured and near before unknown"),
        pytest.param({"rtt_us": None}, {"rtt_us": defaults.RTT_UNKNOWN_US + STEP}, id="unknown before far"),
    ],
)
def test_what_is_better_costs_less(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert cost(Facts(**{**USUAL, **better})) < cost(Facts(**{**USUAL, **worse}))


def test_differences_below_a_step_of_the_way_are_noise() -> None:
    assert cost(Facts(**{**USUAL, "rtt_us": 1})) == cost(Facts(**{**USUAL, "rtt_us": STEP - 1}))


def test_what_is_twice_as_fast_may_have_twice_the_work() -> None:
    fast = Facts(in_flight=3, first_s=0.25, token_s=0.01, rtt_us=0)
    assert cost(fast) == pytest.approx(cost(Facts(in_flight=1, first_s=0.5, token_s=0.02, rtt_us=0)))

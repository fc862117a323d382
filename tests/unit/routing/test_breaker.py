from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.routing.breaker import CLOSED, Breaker, allows, asked, busy, failed, is_open


def _failed(times: int, now_s: float = 0.0) -> Breaker:
    state = CLOSED
    for _ in range(times):
        state = failed(state, now_s)
    return state


def test_it_opens_after_failures_in_a_row() -> None:
    for times in range(defaults.BREAKER_FAILURES):
        assert allows(_failed(times), 0.0)
        assert not is_open(_failed(times))
    state = _failed(defaults.BREAKER_FAILURES)
    assert is_open(state)
    assert not allows(state, defaults.BREAKER_PAUSE_S - 0.1)


def test_one_request_tries_it_when_the_pause_is_over() -> None:
    state = _failed(defaults.BREAKER_FAILURES)
    after_s = defaults.BREAKER_PAUSE_S
    assert allows(state, after_s)
    state = asked(state, after_s)
    assert not allows(state, after_s + 1)
    assert allows(state, after_s + defaults.BREAKER_TRIAL_S), "whoever tried it was cancelled and told nothing"


def test_pauses_grow_up_to_a_limit() -> None:
    state, pauses, now_s = CLOSED, [], 0.0
    for _ in range(100):
        state = failed(state, now_s)
        pauses.append(max(0.0, state.until_s - now_s))
        now_s = max(now_s, state.until_s)
    pauses = pauses[defaults.BREAKER_FAILURES - 1 :]
    assert pauses[:3] == [2.0, 4.0, 8.0]
    assert pauses[-1] == defaults.BREAKER_PAUSE_MAX_S
    assert pauses == sorted(pauses)


def test_a_refusal_for_want_of_room_is_a_short_pause_and_no_failure() -> None:
    state = busy(CLOSED, 10.0)
    assert not allows(state, 10.0 + defaults.BREAKER_BUSY_S / 2)
    assert allows(state, 10.0 + defaults.BREAKER_BUSY_S)
    assert not is_open(state)


def test_what_was_under_way_when_it_opened_is_no_further_failure() -> None:
    state = _failed(defaults.BREAKER_FAILURES)
    for _ in range(50):
        state = failed(state, 1.0)
    assert allows(state, defaults.BREAKER_PAUSE_S), "the pause is that of one failure"
    state = failed(state, defaults.BREAKER_PAUSE_S)
    assert not allows(state, 3 * defaults.BREAKER_PAUSE_S - 0.1)
    assert allows(state, 3 * defaults.BREAKER_PAUSE_S)


def test_who_goes_on_refusing_is_passed_over_for_longer_and_never_for_long() -> None:
    state, pauses, now_s = CLOSED, [], 0.0
    for _ in range(10):
        state = busy(state, now_s)
        state = busy(state, now_s)  # sent before the first was refused
        pauses.append(state.until_s - now_s)
        now_s = state.until_s
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses[-1] == defaults.BREAKER_BUSY_MAX_S
    assert not is_open(state)


def test_some_refusals_may_be_spared() -> None:
    state = busy(busy(CLOSED, 0.0, 2), 0.0, 2)
    assert allows(state, 0.0)
    assert not allows(busy(state, 0.0, 2), 0.0)


def test_asking_changes_nothing_while_it_is_closed() -> None:
    assert asked(CLOSED, 1.0) is CLOSED


@given(st.lists(st.tuples(st.sampled_from([asked, failed, busy]), st.floats(0, 100)), max_size=50))
def test_it_is_never_shut_for_longer_than_its_longest_pause(events: list[tuple[object, float]]) -> None:
    state, now_s = CLOSED, 0.0
    for event, later_s in events:
        now_s += later_s
        state = event(state, now_s)  # type: ignore[operator]
    assert allows(state, now_s + max(defaults.BREAKER_PAUSE_MAX_S, defaults.BREAKER_TRIAL_S))

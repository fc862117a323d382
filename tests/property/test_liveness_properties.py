"""Whatever happens to a model server, in whatever order: what is offered and when it is asked follow the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.registry import liveness
from aicn.registry.liveness import UNKNOWN, Liveness

INTERVAL_S = 10.0


class Step(NamedTuple):
    """Something that happens `after_s` seconds after what happened before."""

    what: str
    after_s: float


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["asked", "answered", "refused", "silent", "suspected"]),
        st.floats(0, 3 * INTERVAL_S, allow_nan=False),
    ),
    max_size=40,
)

EVENTS: dict[str, Callable[[Liveness, float], Liveness]] = {
    "asked": lambda state, now_s: liveness.asked(state, now_s, INTERVAL_S),
    "answered": lambda state, now_s: liveness.answered(state, now_s, INTERVAL_S),
    "refused": lambda state, now_s: liveness.refused(state, now_s, "refused"),
    "silent": lambda state, _: liveness.silent(state, "silent"),
    "suspected": liveness.suspected,
}


@given(steps)
def test_it_is_up_just_as_the_events_since_its_last_answer_say(happened: list[Step]) -> None:
    state, now_s, misses = UNKNOWN, 1_000.0, 0
    for step in happened:
        now_s += step.after_s
        state = EVENTS[step.what](state, now_s)
        if step.what == "answered":
            misses = 0
        elif step.what == "refused":
            misses = defaults.HEALTH_MISSES
        elif step.what == "silent":
            misses += 1
        assert liveness.is_up(state) == (misses < defaults.HEALTH_MISSES)
        assert bool(state.reason) == (misses > 0)


@given(steps)
def test_a_server_is_never_left_alone_for_longer_than_an_interval(happened: list[Step]) -> None:
    state, now_s = liveness.asked(UNKNOWN, 1_000.0, INTERVAL_S), 1_000.0
    for step in happened:
        now_s += step.after_s
        before = state
        state = EVENTS[step.what](state, now_s)
        assert state.next_s <= now_s + INTERVAL_S or state.next_s == before.next_s
        if step.what in ("asked", "answered"):
            assert state.next_s == now_s + INTERVAL_S, "who has just been heard rests for a whole interval"
        else:
            assert state.next_s <= before.next_s, "bad news never puts a question off"


@given(steps)
def test_bad_news_in_crowds_never_makes_a_crowd_of_questions(happened: list[Step]) -> None:
    """Whoever asks when it is time asks no sooner than `HEALTH_REST_S` after the last question."""
    state, now_s, asked_s = UNKNOWN, 1_000.0, float("-inf")
    for step in happened:
        now_s += step.after_s
        if step.what != "asked":
            state = EVENTS[step.what](state, now_s)
        if state.next_s <= now_s:
            assert now_s - asked_s >= defaults.HEALTH_REST_S - 1e-9
            state, asked_s = liveness.asked(state, now_s, INTERVAL_S), now_s


@given(steps, st.sampled_from(["answered", "refused"]))
def test_an_answer_always_brings_it_back_and_a_refusal_always_withdraws_it(happened: list[Step], last: str) -> None:
    state, now_s = UNKNOWN, 1_000.0
    for step in happened:
        now_s += step.after_s
        state = EVENTS[step.what](state, now_s)
    assert liveness.is_up(EVENTS[last](state, now_s)) == (last == "answered")

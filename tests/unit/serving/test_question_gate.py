from __future__ import annotations

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.ids import PeerId
from aicn.serving import QuestionGate

ONE, OTHER = PeerId("one"), PeerId("other")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_burst_passes_and_a_flood_does_not(clock: ManualClock) -> None:
    gate = QuestionGate(clock)
    assert sum(gate.spend(ONE) for _ in range(10_000)) == defaults.QUESTION_BURST
    assert gate.spend(OTHER), "the flood of one is nothing to another"
    clock.advance(1)
    assert sum(gate.spend(ONE) for _ in range(100)) == defaults.QUESTIONS_PER_S
    clock.advance(10_000)
    assert sum(gate.spend(ONE) for _ in range(10_000)) == defaults.QUESTION_BURST


def test_a_question_is_new_once(clock: ManualClock) -> None:
    gate = QuestionGate(clock)
    for source in (ONE, OTHER):
        gate.spend(source)
        assert gate.is_new(source, "a", 100)
        assert not gate.is_new(source, "a", 100)
        assert not gate.is_new(source, "a", 500), "another time does not make it another question"
        assert gate.is_new(source, "b", 90)


def test_a_question_that_was_forgotten_is_too_old_to_be_new(clock: ManualClock) -> None:
    gate = QuestionGate(clock, max_ids=2)
    gate.spend(ONE)
    newest = 100 + int(defaults.QUESTION_MAX_AGE_S) + 1
    assert [gate.is_new(ONE, id_, sent) for id_, sent in (("a", 100), ("b", newest), ("c", newest))] == [True] * 3
    assert not gate.is_new(ONE, "a", 100)
    assert gate.is_new(ONE, "d", 101), "as old as may be"


def test_a_clock_that_was_set_back_is_believed_after_an_hour_of_silence(clock: ManualClock) -> None:
    gate = QuestionGate(clock)
    gate.spend(ONE)
    assert gate.is_new(ONE, "a", 2**40)
    clock.advance(60)
    gate.spend(ONE)
    assert not gate.is_new(ONE, "b", 1_000)
    clock.advance(defaults.REPLAY_MEMORY_S + 1)
    gate.spend(ONE)
    assert gate.is_new(ONE, "c", 1_000)


def test_those_longest_silent_are_forgotten(clock: ManualClock) -> None:
    gate = QuestionGate(clock, max_sources=2)
    for _ in range(defaults.QUESTION_BURST):
        gate.spend(ONE)
    assert not gate.spend(ONE)
    gate.spend(OTHER)
    assert not gate.spend(ONE), "heard just now"
    gate.spend(PeerId("third"))  # takes the place of OTHER
    assert not gate.spend(ONE)
    gate.spend(OTHER)
    gate.spend(PeerId("third"))
    assert gate.spend(ONE)

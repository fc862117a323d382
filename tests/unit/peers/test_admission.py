"""A sender is heard at its rate, and never twice with the same words."""

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.ids import PeerId
from aicn.peers import Admission

_A, _B = PeerId("a"), PeerId("b")


def _seqno(number: int) -> bytes:
    return number.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("heartbeats", "taken"),
    [
        pytest.param([(1, 10), (2, 10), (3, 11)], [True, True, True], id="in order"),
        pytest.param([(1, 10), (1, 10)], [True, False], id="the same again"),
        pytest.param([(2, 11), (1, 10)], [True, False], id="an older one"),
        pytest.param([(2, 10), (1, 10)], [True, False], id="an older one of the same second"),
        pytest.param([(5, 100), (6, 50), (7, 51)], [True, True, True], id="clock set back while running"),
        pytest.param([(5, 100), (6, 50), (5, 100)], [True, True, False], id="from before the clock was set back"),
        pytest.param([(9, 10), (3, 11), (5, 12)], [True, True, True], id="random sequence numbers"),
        pytest.param([(9, 10), (3, 11), (9, 10)], [True, True, False], id="replay among random sequence numbers"),
        pytest.param([(2**64 - 1, 10), (0, 10), (0, 11)], [True, False, True], id="highest sequence number"),
        pytest.param([(0, 0), (0, 0)], [True, False], id="lowest of everything"),
    ],
)
def test_only_newer_heartbeats_are_taken(heartbeats: list[tuple[int, int]], taken: list[bool]) -> None:
    admission = Admission(ManualClock())
    assert [admission.admit(_A, _seqno(seqno), sent_s) for seqno, sent_s in heartbeats] == taken


def test_senders_do_not_share_their_marks() -> None:
    admission = Admission(ManualClock())
    assert admission.admit(_A, _seqno(9), 9)
    assert admission.admit(_B, _seqno(1), 1)


def test_a_sender_silent_for_long_is_heard_anew() -> None:
    clock = ManualClock()
    admission = Admission(clock)
    assert admission.admit(_A, _seqno(9), 9)
    clock.advance(defaults.REPLAY_MEMORY_S)
    assert not admission.admit(_A, _seqno(1), 1)
    clock.advance(1)
    assert admission.admit(_A, _seqno(1), 1)
    assert not admission.admit(_A, _seqno(1), 1)


def test_a_burst_is_taken_and_then_a_rate() -> None:
    clock = ManualClock()
    admission = Admission(clock)
    for _ in range(defaults.HEARTBEAT_BURST):
        assert admission.has_allowance(_A)
        admission.spend(_A)
    assert not admission.has_allowance(_A)
    assert admission.has_allowance(_B)
    clock.advance(1 / defaults.HEARTBEATS_PER_S)
    assert admission.has_allowance(_A)
    admission.spend(_A)
    assert not admission.has_allowance(_A)
    clock.advance(3_600)
    for _ in range(defaults.HEARTBEAT_BURST):
        assert admission.has_allowance(_A)
        admission.spend(_A)
    assert not admission.has_allowance(_A)


def test_asking_costs_nothing() -> None:
    admission = Admission(ManualClock())
    for _ in range(1_000):
        assert admission.has_allowance(_A)
    assert len(admission) == 0


def test_spending_beyond_the_allowance_runs_up_no_debt() -> None:
    clock = ManualClock()
    admission = Admission(clock)
    for _ in range(1_000):
        admission.spend(_A)
    clock.advance(1 / defaults.HEARTBEATS_PER_S)
    assert admission.has_allowance(_A)


def test_those_longest_silent_are_forgotten_when_there_are_too_many() -> None:
    admission = Admission(ManualClock(), max_sources=2)
    assert admission.admit(_A, _seqno(5), 5)
    assert admission.admit(_B, _seqno(5), 5)
    assert not admission.admit(_A, _seqno(5), 5)
    assert admission.admit(PeerId("c"), _seqno(5), 5)
    assert len(admission) == 2
    assert not admission.admit(_A, _seqno(5), 5)
    assert admission.admit(_B, _seqno(5), 5)


def test_strangers_in_great_number_make_no_room_for_what_was_said_long_ago() -> None:
    admission = Admission(ManualClock(), max_sources=4, is_believed=lambda peer: peer in {_A, _B})
    for believed in (_A, _B):
        assert admission.admit(believed, _seqno(5), 5)
    for number in range(100):
        assert admission.admit(PeerId(f"{number}"), _seqno(5), 5)
    assert len(admission) == 4
    for believed in (_A, _B):
        assert not admission.admit(believed, _seqno(5), 5)

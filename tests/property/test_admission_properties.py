"""Whatever the order in which heartbeats arrive: none twice, none of an honest sender lost, none over a newer one."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from aicn.clock import ManualClock
from aicn.ids import PeerId
from aicn.peers import Admission

_SENDER = PeerId("sender")
_MARK = st.tuples(st.integers(0, 6), st.integers(0, 6))


def _admit(admission: Admission, mark: tuple[int, int]) -> bool:
    seqno, sent_unix_s = mark
    return admission.admit(_SENDER, seqno.to_bytes(8, "big"), sent_unix_s)


@given(st.lists(_MARK, max_size=40))
def test_no_heartbeat_is_taken_twice(marks: list[tuple[int, int]]) -> None:
    admission = Admission(ManualClock())
    taken = [mark for mark in marks if _admit(admission, mark)]
    assert len(taken) == len(set(taken))
    assert not any(_admit(admission, mark) for mark in marks if mark in taken)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=20), st.randoms())
def test_of_an_honest_sender_all_is_taken_in_order_and_nothing_again(
    gaps: list[tuple[int, int]], chance: Random
) -> None:
    marks, mark = list[tuple[int, int]](), (0, 0)
    for seqno_gap, seconds in gaps:
        mark = mark[0] + seqno_gap, mark[1] + seconds
        marks.append(mark)
    admission = Admission(ManualClock())
    for newest, mark in enumerate(marks):
        assert _admit(admission, mark)
        replay = marks[chance.randint(0, newest)]
        assert not _admit(admission, replay)


@given(
    st.integers(0, 2**40),
    st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=20),
)
def test_a_running_sender_is_heard_however_its_clock_is_set(start_s: int, changes_s: list[int]) -> None:
    """Its sequence numbers grow all the same."""
    admission = Admission(ManualClock())
    sent_unix_s = start_s
    for seqno, change_s in enumerate(changes_s):
        sent_unix_s = max(0, sent_unix_s + change_s)
        assert _admit(admission, (seqno, sent_unix_s))

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.api.sse import EventStream

DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_whole_events_leave_at_once(end: bytes) -> None:
    events = EventStream()
    assert events.feed(b"data: a" + end) == b"data: a" + end
    assert events.feed(b"data: b" + end + b"data: c" + end) == b"data: b" + end + b"data: c" + end
    assert not events.done


def test_unfinished_event_waits_for_its_rest() -> None:
    events = EventStream()
    assert events.feed(b"data: a\n\ndata: {") == b"data: a\n\n"
    assert events.feed(b"}\n") == b""
    assert events.feed(b"\n") == b"data: {}\n\n"
    assert not events.broken_event


@pytest.mark.parametrize(
    "last", [DONE, b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\n", b"data: [DONE]", b"data: [DONE]\r\r"]
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_done_is_recognised_however_it_is_cut(last: bytes, step: int) -> None:
    events = EventStream()
    whole = b"data: x\n\n" + last
    out = b"".join(events.feed(whole[at : at + step]) for at in range(0, len(whole), step)) + events.finish()
    assert out == whole
    assert events.done


@pytest.mark.parametrize(
    "last",
    [b"data: say [DONE]\n\n", b": [DONE]\n\n", b"data: [DONE] not\n\n", b"event: [DONE]\n\n", DONE + b"data: x\n\n"],
)
def test_other_uses_of_the_word_are_no_end(last: bytes) -> None:
    events = EventStream()
    events.feed(b"data: x\n\n" + last)
    events.finish()
    assert not events.done


def test_event_longer_than_the_bound_is_passed_on_in_parts() -> None:
    events = EventStream()
    part = b"data: " + b"x" * (defaults.SSE_HELD_MAX_BYTES + 1)
    assert (events.feed(part), events.broken_event) == (part, True)
    assert events.feed(b"more") == b"more"
    assert (events.feed(b"end\n"), events.broken_event) == (b"end\n", True)
    assert (events.feed(b"\ndata: n"), events.broken_event) == (b"\n", False)
    assert events.feed(b"\n\n") == b"data: n\n\n"


@given(
    events=st.lists(st.sampled_from([b"data: a\n\n", b"data: bc\r\n\r\n", b": keep\n\n", b"id: 1\ndata: x\n\n", DONE])),
    cuts=st.lists(st.integers(1, 9), min_size=1),
)
def test_bytes_never_change_and_only_whole_events_leave(events: list[bytes], cuts: list[int]) -> None:
    stream = EventStream()
    whole = b"".join(events)
    boundaries = {sum(len(event) for event in events[:count]) for count in range(len(events) + 1)}
    out = b""
    at = turn = 0
    while at < len(whole):
        step = cuts[turn % len(cuts)]
        out += stream.feed(whole[at : at + step])
        at, turn = at + step, turn + 1
        assert len(out) in boundaries
    assert out + stream.finish() == whole
    assert stream.done == (bool(events) and events[-1] == DONE)

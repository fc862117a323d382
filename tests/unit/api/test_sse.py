from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.api.sse import EventStream, ending_of, may_tell_error, tells_error
from aicn.endpoints import Endpoint
from aicn.wire.event_stream import data_of, split_events

DONE = b"data: [DONE]\n\n"


def fed(events: EventStream, data: bytes) -> bytes:
    """Return all that may leave when `data` has come."""
    return b"".join(piece.data for piece in events.feed(data))


def passed(events: EventStream, whole: bytes, step: int) -> bytes:
    """Return what of a stream that comes in parts of `step` bytes leaves in the end."""
    return b"".join(fed(events, whole[at : at + step]) for at in range(0, len(whole), step)) + events.finish()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_whole_events_leave_at_once(end: bytes) -> None:
    events = EventStream()
    assert fed(events, b"data: a" + end) == b"data: a" + end
    assert fed(events, b"data: b" + end + b"data: c" + end) == b"data: b" + end + b"data: c" + end
    assert not events.done


def test_unfinished_event_waits_for_its_rest() -> None:
    events = EventStream()
    assert fed(events, b"data: a\n\ndata: {") == b"data: a\n\n"
    assert fed(events, b"}\n") == b""
    assert fed(events, b"\n") == b"data: {}\n\n"
    assert not events.broken_event


@pytest.mark.parametrize(
    "last",
    [
        DONE,
        b"data:[DONE]\n\n",
        b"data: [DONE]\r\n\r\n",
        b"data: [DONE]\n",
        b"data: [DONE]",
        b"data: [DONE]\r\r",
        b"id: 9\ndata: [DONE]\n\n",
        b"data: [DONE]\nid: 9\n\n",
        DONE + b": that was all\n\n",
        DONE + b"data: x\n\n",
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_done_is_recognised_however_it_is_cut(last: bytes, step: int) -> None:
    events = EventStream()
    whole = b"data: x\n\n" + last
    out = passed(events, whole, step)
    assert out == whole
    assert events.done


@pytest.mark.parametrize(
    "last",
    [
        b"data: say [DONE]\n\n",
        b": [DONE]\n\n",
        b"data: [DONE] not\n\n",
        b"event: [DONE]\n\n",
        b"data: [DONE]\ndata: x\n\n",
    ],
)
def test_other_uses_of_the_word_are_no_end(last: bytes) -> None:
    events = EventStream()
    events.feed(b"data: x\n\n" + last)
    events.finish()
    assert not events.done


@pytest.mark.parametrize(
    ("endpoint", "rest"),
    [
        (Endpoint.CHAT, b'data: {"choices":[{"del'),
        (Endpoint.RESPONSES, b'event: response.completed\ndata: {"type":"response.comp'),
        (Endpoint.RESPONSES, b'data: {"type":"response.completed","response":{'),
        (Endpoint.RESPONSES, b"event: response.completed\n"),
        (Endpoint.MESSAGES, b'event: message_stop\ndata: {"ty'),
    ],
)
def test_half_an_event_at_the_end_is_left_out_and_no_end(endpoint: Endpoint, rest: bytes) -> None:
    events = EventStream(ending_of(endpoint))
    assert fed(events, b"data: {}\n\n" + rest) == b"data: {}\n\n"
    assert events.finish() == b""
    assert not events.done
    if endpoint is Endpoint.CHAT:
        events = EventStream()
        fed(events, DONE + rest)
        assert (events.finish(), events.done) == (b"", True)


def test_event_longer_than_the_bound_is_passed_on_in_parts() -> None:
    events = EventStream()
    part = b"data: " + b"x" * (defaults.SSE_HELD_MAX_BYTES + 1)
    assert (fed(events, part), events.broken_event) == (part, True)
    assert fed(events, b"more") == b"more"
    assert (fed(events, b"end\n"), events.broken_event) == (b"end\n", True)
    assert (fed(events, b"\ndata: n"), events.broken_event) == (b"\n", False)
    assert fed(events, b"\n\n") == b"data: n\n\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("step", [1_000, 70_000, 1_000_000])
def test_what_stands_beside_a_long_event_leaves_as_whole_events(end: bytes, step: int) -> None:
    long = b"data: " + b"x" * (2 * defaults.SSE_HELD_MAX_BYTES) + end
    before, behind = b"data: a" + end, b"data: b" + end + b"data: [DONE]" + end
    stream = EventStream()
    whole = before + long + behind
    pieces = [piece for at in range(0, len(whole), step) for piece in stream.feed(whole[at : at + step])]
    assert b"".join(piece.data for piece in pieces) == whole
    events = b"".join(piece.data for piece in pieces if piece.is_whole)
    assert events == (before + behind if step < len(whole) else whole)
    assert stream.done


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
        out += fed(stream, whole[at : at + step])
        at, turn = at + step, turn + 1
        assert len(out) in boundaries
    assert out + stream.finish() == whole
    assert stream.done == (DONE in events)


def test_byte_order_mark_before_the_only_event() -> None:
    events = EventStream()
    assert fed(events, b"\xef\xbb\xbf" + DONE) == b"\xef\xbb\xbf" + DONE
    assert events.done


ENDINGS = [
    (Endpoint.CHAT, DONE),
    (Endpoint.COMPLETIONS, DONE),
    (Endpoint.RESPONSES, b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'),
    (Endpoint.RESPONSES, b'data: {"type": "response.incomplete"}\r\n\r\n'),
    (Endpoint.RESPONSES, b'event: response.failed\rdata: {"response":{}}\r\r'),
    (Endpoint.RESPONSES, b"event: response.completed\ndata: {}\n\n" + DONE),
    (Endpoint.RESPONSES, b'data: {"sequence_number":9,"response":{},"type":"response.completed"}\n\n'),
    (Endpoint.MESSAGES, b'data: {"x":1,"type":"message_stop"}\n\n'),
    (Endpoint.MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    (Endpoint.SPEECH, b'data: {"type":"speech.audio.delta"}\n\n'),
    (Endpoint.TRANSCRIPTION, b'data: {"type":"transcript.text.done"}\n'),
    (Endpoint.IMAGE_GENERATION, b""),
]


@pytest.mark.parametrize(("endpoint", "last"), ENDINGS)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_each_endpoint_ends_in_its_own_way(endpoint: Endpoint, last: bytes, step: int) -> None:
    events = EventStream(ending_of(endpoint))
    whole = b'event: response.created\ndata: {"type":"message_start"}\n\n' + last
    out = passed(events, whole, step)
    assert out == whole
    assert events.done


@pytest.mark.parametrize(
    ("endpoint", "last"),
    [
        (Endpoint.RESPONSES, b""),
        (Endpoint.RESPONSES, DONE),
        (Endpoint.RESPONSES, b'data: {"type":"response.output_text.delta","delta":"event: response.completed"}\n\n'),
        (Endpoint.RESPONSES, b'data: {"delta":"{\\"type\\":\\"response.completed\\"}"}\n\n'),
        (Endpoint.RESPONSES, b'data: {"response":{"type":"response.completed"},"type":"response.in_progress"}\n\n'),
        (Endpoint.MESSAGES, DONE),
        (Endpoint.MESSAGES, b'event: message_delta\ndata: {"type":"message_delta"}\n\n'),
        (Endpoint.SPEECH, b'data: {"type":"speech.au'),
        (Endpoint.CHAT, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
def test_what_is_no_end_there(endpoint: Endpoint, last: bytes) -> None:
    events = EventStream(ending_of(endpoint))
    events.feed(b"data: {}\n\n" + last)
    events.finish()
    assert not events.done


def test_final_event_that_is_longer_than_the_bound_ends_the_stream_only_when_it_is_whole() -> None:
    events = EventStream(ending_of(Endpoint.RESPONSES))
    events.feed(b"event: response.completed\ndata: " + b"x" * (defaults.SSE_HELD_MAX_BYTES + 1))
    assert (events.broken_event, events.done) == (True, False)
    events.feed(b"\n\n")
    assert (events.broken_event, events.done) == (False, True)


def test_ten_megabytes_in_one_line_pass_unchanged() -> None:
    events = EventStream()
    whole = b"data: " + bytes(10_000_000).replace(b"\0", b"x") + b"\n\n" + DONE
    out = passed(events, whole, 65_536)
    assert out == whole
    assert events.done


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_told_apart_and_read(end: bytes) -> None:
    events = [
        b": note" + end + end,
        b"event: e" + end + b"data: a" + end + b"id: 1" + end + b"data:b" + end + end,
        b"data" + end + end,
        b"data:  two" + end + end,
    ]
    assert split_events(b"".join(events)) == events
    assert [data_of(event) for event in events] == [b"", b"a\nb", b"", b" two"]
    assert split_events(b"data: cut") == [b"data: cut"]
    assert data_of(b"\xef\xbb\xbfdata: x\n\n") == b"x"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (b'data: {"error":{"message":"m"}}\n\n', True),
        (b'data: {"code":1018,"message":"m","error":{}}\n\n', True),
        (b'data: {"error":"m"}\n\n', True),
        (b'event: error\ndata: {"type":"overloaded"}\n\n', True),
        (b'data: {"type":"error","code":"server_error"}\n\n', True),
        (b'data: {"error":null,"choices":[]}\n\n', False),
        (b'data: {"error":""}\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"{\\"error\\":1}"}}]}\n\n', False),
        (b'data: {"choices":[{"error":{}}]}\n\n', False),
        (b"data: error\n\n", False),
        (b": error\n\n", False),
        (b'data: ["error"]\n\n', False),
    ],
)
def test_error_events_of_a_model_server(event: bytes, told: bool) -> None:  # noqa: FBT001
    assert tells_error(event) is told
    assert may_tell_error(event) or not told


def test_words_about_errors_are_worth_no_look() -> None:
    event = b'data: {"choices":[{"delta":{"content":"an error, {\\"error\\": 1}, event : error"}}]}\n\n'
    assert not may_tell_error(event * 3)

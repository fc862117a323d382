from __future__ import annotations

import json

import pytest

from aicn.api.streaming import UsageFilter
from aicn.api.streaming.usage import wish_of

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def _event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            b'{"model":"m","stream":true}',
            b'{"stream_options":{"include_usage":true},"model":"m","stream":true}',
            id="no options",
        ),
        pytest.param(
            b' \n{ "stream" : true, "x": 1.50 } ',
            b' \n{ "stream_options":{"include_usage":true},"stream" : true, "x": 1.50 } ',
            id="all other bytes stay",
        ),
        pytest.param(
            b'{"stream":true, "stream_options": null, "b":"\xc3\xa4"}',
            b'{"stream":true, "stream_options": {"include_usage":true}, "b":"\xc3\xa4"}',
            id="null",
        ),
        pytest.param(
            b'{"stream_options" : {"include_usage": false} ,"stream":true}',
            b'{"stream_options" : {"include_usage":true} ,"stream":true}',
            id="refused by the client",
        ),
        pytest.param(
            b'{"stream":true,"stream_options":{"include_obfuscation": 1e2}}',
            b'{"stream":true,"stream_options":{"include_obfuscation":1e2,"include_usage":true}}',
            id="other options",
        ),
        pytest.param(
            b'{"user":"say \\"stream_options\\": null","stream":true,"stream_options":null}',
            b'{"user":"say \\"stream_options\\": null","stream":true,"stream_options":{"include_usage":true}}',
            id="the name inside a text",
        ),
        pytest.param(
            b'{"a": {"stream_options": null}, "n": 1.0, "stream": true, "stream_options": null}',
            b'{"a":{"stream_options": null},"n":1.0,"stream":true,"stream_options":{"include_usage":true}}',
            id="the name in another object",
        ),
        pytest.param(
            b'{"stream":true,"stream_option\\u0073":{}}',
            b'{"stream":true,"stream_options":{"include_usage":true}}',
            id="the name with escapes",
        ),
    ],
)
def test_usage_is_asked_for(before: bytes, after: bytes) -> None:
    assert wish_of(before) == (True, after)
    assert wish_of(before, has_usage_option=False) == (True, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{"stream":false}',
        b'{"stream":"true"}',
        b'{"stream":1}',
        b'{"stream":true',
        b'["stream"]',
        b"",
        b'"stream"',
        b'{"stream":true,"a":"\xff"',
    ],
)
def test_other_bodies_want_no_stream(body: bytes) -> None:
    assert wish_of(body) == (False, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":5}',
        b'{"stream":true,"stream_options":"yes"}',
    ],
)
def test_nothing_is_added_to_what_asks_already_or_is_wrong(body: bytes) -> None:
    assert wish_of(body) == (True, None)


def test_event_with_nothing_but_the_usage_is_hidden() -> None:
    content = _event(choices=[{"index": 0, "delta": {"content": "a"}}], usage=None)
    alone = _event(choices=[], usage=USAGE)
    done = b"data: [DONE]\n\n"
    assert UsageFilter().feed(content + alone + done) == content + done


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("lead", [b"", b": note", b"id: 7", b"event: message"])
def test_hidden_however_lines_end(end: bytes, lead: bytes) -> None:
    line_end = end[: len(end) // 2]
    start = lead + line_end if lead else b""
    alone = start + b'data:{"choices": [ ],' + line_end + b'data: "usage":{"total_tokens":1}}' + end
    after = b"data: x" + end
    assert UsageFilter().feed(alone + after) == after


@pytest.mark.parametrize(
    "event",
    [
        _event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=USAGE),
        _event(choices=[], prompt_filter_results=[{"prompt_index": 0}]),
        _event(choices=[], usage=None),
        _event(choices=[], usage=USAGE, error={"message": "m"}),
        _event(choices=[{"delta": {"content": '"choices":[] "usage":{}'}}]),
        b': "choices":[]\n\n',
        b'data: "choices":[]\n\n',
    ],
)
def test_events_that_say_more_stay(event: bytes) -> None:
    assert UsageFilter().feed(event) == event

from __future__ import annotations

import json
from typing import Any

import pytest

from aicn import defaults
from aicn.api.streaming import Continuation, continuable
from aicn.wire.json_members import MEMBERS_MAX

ASKED: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "stream": True,
    "top_p": 0.5,
    "vendor": {"x": 1},
}
DONE = b"data: [DONE]\n\n"


def _body(**fields: Any) -> bytes:
    return json.dumps({**ASKED, **fields}).encode()


def _followed(**fields: Any) -> Continuation:
    found = continuable(_body(**fields))
    assert found is not None
    return found


def _event(delta: dict[str, Any] | None = None, *, name: str = "one", finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": name, "object": "chat.completion.chunk", "created": 7, "model": name, "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _chunks(events: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in events.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def _text(events: bytes) -> str:
    deltas = [choice["delta"] for chunk in _chunks(events) for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_the_first_stream_passes_unchanged_and_its_text_becomes_the_last_message() -> None:
    followed = _followed()
    first = (
        _event({"role": "assistant", "content": ""})
        + b": note\n\n"
        + _event({"content": "Grüße "})
        + _event({"content": "an"})
    )
    assert followed.feed(first) == first
    assert followed.possible
    again = json.loads(followed.next_body())
    assert again == {
        **ASKED,
        "messages": [*ASKED["messages"], {"role": "assistant", "content": "Grüße an"}],
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    assert followed.count == 1


def test_the_second_stream_looks_like_the_first() -> None:
    followed = _followed()
    followed.feed(_event({"role": "assistant", "content": "a "}))
    followed.next_body()
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    second = (
        _event({"role": "assistant", "content": ""}, name="two")
        + _event({"role": "assistant", "content": "b"}, name="two", system_fingerprint="f")
        + _event({}, name="two", finish="stop")
        + _event(name="two", usage=usage)
        + DONE
    )
    seen = followed.feed(second)
    assert seen.endswith(DONE)
    chunks = _chunks(seen)
    assert [(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks] == [("one", 7, "one")] * 3
    assert [choice for chunk in chunks for choice in chunk["choices"]] == [
        {"index": 0, "delta": {"content": "b"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    assert chunks[0]["system_fingerprint"] == "f"
    assert chunks[2]["usage"] == usage


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "details": {"x": [1.50]}},
            {"prompt_tokens": 19, "completion_tokens": 5, "total_tokens": 24, "details": {"x": [1.50]}},
        ),
        ({"completion_tokens": 1}, {"completion_tokens": 5}),
        ({"prompt_tokens": -1, "completion_tokens": None}, {"prompt_tokens": -1, "completion_tokens": None}),
        (None, None),
    ],
)
def test_the_usage_that_is_shown_is_that_of_all_parts(told: Any, shown: Any) -> None:
    followed = _followed()
    followed.feed(_event({"content": "a"}))
    followed.next_body()
    followed.used(10, 4)
    assert _chunks(followed.feed(_event({"content": "b"}, usage=told)))[0]["usage"] == shown
    assert _chunks(followed.feed(_event({}, finish="stop")))[0].get("usage") is None
    assert _chunks(followed.feed(_event(usage=told)))[0]["usage"] == shown


def test_a_usage_that_is_nobodys_count_stays_as_it_is() -> None:
    followed = _followed()
    followed.feed(_event({"content": "a"}))
    followed.next_body()
    followed.used(10, 4)
    seen = followed.feed(b'data: {"choices":[],"usage":{"prompt_tokens":%b}}\n\n' % (b"9" * 5_000))
    assert b"9" * 5_000 in seen


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_a_model_server_that_begins_anew_does_not_repeat_the_text(step: int) -> None:
    followed = _followed()
    said = "It was a dark and stormy night"
    followed.feed(_event({"content": said}))
    followed.next_body()
    whole = said + "; the rain fell"
    parts = [whole[at : at + step] for at in range(0, len(whole), step)]
    seen = b"".join(followed.feed(_event({"content": part}, name="two")) for part in parts)
    assert _text(seen) == "; the rain fell"


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_words_that_only_begin_like_the_text_are_kept(step: int) -> None:
    followed = _followed()
    followed.feed(_event({"content": "It was a dark and stormy night"}))
    followed.next_body()
    whole = "It was a dark day"
    parts = [whole[at : at + step] for at in range(0, len(whole), step)]
    seen = b"".join(followed.feed(_event({"content": part}, name="two")) for part in parts)
    assert _text(seen) == whole


def test_an_end_inside_of_what_looks_repeated_gives_it_back() -> None:
    followed = _followed()
    followed.feed(_event({"content": "It was a dark and stormy night"}))
    followed.next_body()
    seen = followed.feed(_event({"content": "It was"}, name="two") + _event({}, name="two", finish="stop"))
    assert _text(seen) == "It was"
    assert _chunks(seen)[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "last", [DONE, b'data: {"id":"two","choices":[{"index":0,"finish_reason":"stop"}]}\n\n' + DONE]
)
def test_what_looks_repeated_is_given_back_where_the_stream_just_ends(last: bytes) -> None:
    followed = _followed()
    followed.feed(_event({"content": "It was a dark and stormy night"}))
    followed.next_body()
    seen = followed.feed(_event({"content": "It was"}, name="two") + last)
    assert _text(seen) == "It was"
    assert {chunk["id"] for chunk in _chunks(seen)} == {"one"}
    assert seen.endswith(DONE)


def test_short_text_may_come_again() -> None:
    followed = _followed()
    followed.feed(_event({"content": "ha"}))
    followed.next_body()
    assert _text(followed.feed(_event({"content": "ha"}))) == "ha"


def test_each_continuation_takes_all_text_and_there_are_only_so_many() -> None:
    followed = _followed()
    followed.feed(_event({"content": "0"}))
    for count in range(1, defaults.CONTINUE_MAX + 1):
        assert followed.possible
        said = json.loads(followed.next_body())["messages"][-1]["content"]
        assert said == "".join(str(each) for each in range(count))
        followed.feed(_event({"content": str(count)}, name=f"n{count}"))
    assert not followed.possible


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(10, 8), (2, 1), (1, 1), (None, None)])
def test_the_rest_is_shorter_by_what_was_said(name: str, limit: int | None, left: int | None) -> None:
    followed = _followed(**{name: limit})
    followed.feed(_event({"content": "a"}) + _event({"content": "b"}))
    assert json.loads(followed.next_body())[name] == left


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(_event({"tool_calls": [{"index": 0}]}), id="tool call"),
        pytest.param(_event({"function_call": {"name": "f"}}), id="function call"),
        pytest.param(_event({"refusal": "no"}), id="refusal"),
        pytest.param(_event({}, finish="length"), id="finished"),
        pytest.param(b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n', id="another answer"),
        pytest.param(_event({"content": "x" * (defaults.CONTINUE_TEXT_MAX_CHARS + 1)}), id="too long"),
        pytest.param(b"data: {half a chunk\n\n", id="what nobody understands"),
        pytest.param(_event({"content": [{"type": "text", "text": "x"}]}), id="a list of parts"),
    ],
)
def test_not_continued_after(event: bytes) -> None:
    followed = _followed()
    followed.feed(_event({"content": "text"}))
    assert followed.possible
    assert followed.feed(event) == event
    assert not followed.possible


@pytest.mark.parametrize(
    "event",
    [b": ping\n\n", b"event: x\n\n", b"data: [DONE]\n\n", b"\n", _event({}, finish=""), _event({"content": None})],
)
def test_what_says_nothing_is_no_reason_not_to_continue(event: bytes) -> None:
    followed = _followed()
    followed.feed(_event({"content": "text"}))
    assert followed.feed(event) == event
    assert followed.possible


def test_nothing_is_continued_before_its_first_text() -> None:
    followed = _followed()
    followed.feed(_event({"role": "assistant", "content": ""}) + _event({"reasoning_content": "hm"}))
    assert not followed.possible


def test_a_stream_that_has_been_continued_still_fits_when_it_cannot_be_once_more() -> None:
    followed = _followed()
    followed.feed(_event({"content": "a"}))
    followed.next_body()
    followed.give_up()
    assert _chunks(followed.feed(_event({"content": "b"}, name="two")))[0]["id"] == "one"


@pytest.mark.parametrize(
    "body",
    [
        _body(stream=False),
        _body(messages=[[]] * (MEMBERS_MAX + 1) + [{"role": "user", "content": "hi"}]),
        _body(n=2),
        _body(response_format={"type": "json_object"}),
        _body(guided_regex="a+"),
        _body(continue_final_message=True),
        _body(messages=[]),
        _body(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        _body(messages="hi"),
        _body(messages=[5]),
        b"[]",
        b"{",
        b"\xff",
    ],
)
def test_what_cannot_be_continued(body: bytes) -> None:
    assert continuable(body) is None


@pytest.mark.parametrize("fields", [{}, {"n": 1}, {"n": None}, {"response_format": {"type": "text"}}, {"tools": []}])
def test_what_can_be(fields: dict[str, Any]) -> None:
    assert continuable(_body(**fields)) is not None

"""Tokens and images are read from answers as model servers write them."""

from __future__ import annotations

import json

import pytest

from aicn import defaults
from aicn.telemetry import usage
from aicn.telemetry.usage import ImageReader, TokenReader

USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}


def read(*parts: bytes) -> tuple[int | None, int | None]:
    reader = TokenReader()
    for part in parts:
        reader.feed(part)
    return reader.prompt_tokens, reader.completion_tokens


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def test_json_answer() -> None:
    answer = {"choices": [{"message": {"content": "hello"}}], "usage": USAGE}
    assert read(json.dumps(answer).encode()) == (12, 34)
    assert read(json.dumps(answer, indent=2).encode()) == (12, 34)
    assert read(json.dumps({"usage": USAGE, "choices": ["x" * 100_000]}).encode()) == (12, 34)


def test_details_inside_the_usage() -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}, "prompt_tokens_details": {"note": "}{"}}
    assert read(json.dumps({"usage": usage}).encode()) == (12, 34)


def test_stream_in_which_only_the_last_event_has_a_usage() -> None:
    silent = [event({"choices": [{"delta": {"content": word}}], "usage": None}) for word in ["a", "b", "c"]]
    last = event({"choices": [], "usage": USAGE})
    assert read(*silent, last, b"data: [DONE]\n\n") == (12, 34)
    assert read(b"".join([*silent, last, b"data: [DONE]\n\n"])) == (12, 34)
    assert read(last, *silent) == (12, 34)
    assert read(b"".join([last, *silent])) == (12, 34)
    assert read(*silent) == (None, None)


def test_stream_that_tells_the_question_at_its_begin_and_the_answer_at_its_end() -> None:
    begin = event({"type": "message_start", "message": {"usage": {"input_tokens": 12, "output_tokens": 1}}})
    end = event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 34}})
    assert read(begin, event({"type": "ping"}), end) == (12, 34)
    assert read(begin + event({"type": "ping"}) + end) == (12, 34)
    assert read(*(bytes([byte]) for byte in begin + end)) == (12, 34)


def test_stream_in_which_every_event_has_a_usage() -> None:
    events = [event({"usage": {"prompt_tokens": 12, "completion_tokens": count}}) for count in (1, 2, 34)]
    assert read(*events) == (12, 34)
    assert read(b"".join(events)) == (12, 34)


def test_image_servers_name_the_counts_otherwise() -> None:
    assert read(b'{"data":[],"usage":{"input_tokens":50,"output_tokens":1500}}') == (50, 1500)


def test_words_about_usage_are_no_usage() -> None:
    text = 'tell me: "usage": {"prompt_tokens": 1, "completion_tokens": 1}'
    assert read(json.dumps({"choices": [{"message": {"content": text}}]}).encode()) == (None, None)
    assert read(b'{"kind":"usage","usage":{"prompt_tokens":12,"completion_tokens":34}}') == (12, 34)
    assert read(b'{"kind":"usage"}') == (None, None)


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens":-1,"completion_tokens":true}',
        b'{"prompt_tokens":"12"}',
        b'{"prompt_tokens":9007199254740993}',
        b"{}",
        b"[1]",
        b"7",
        b"{broken}",
        b'{"a":' * 800,
        b"{" * 100_000,
        b'{"prompt_tokens":12,"note":"' + b"x" * defaults.USAGE_MAX_BYTES + b'"}',
    ],
    ids=range(10),
)
def test_what_is_no_count_is_not_taken(usage: bytes) -> None:
    assert read(b'{"usage":' + usage + b"}") == (None, None)
    assert read(*(bytes([byte]) for byte in b'{"usage":' + usage[:5_000] + b"}")) == (None, None)


def test_half_a_usage_is_given_up_when_it_grows_too_long() -> None:
    reader = TokenReader()
    reader.feed(b'{"usage":{"note":"')
    for _ in range(1_000):
        reader.feed(b"x" * 100)
    assert len(reader._open) <= defaults.USAGE_MAX_BYTES
    reader.feed(b'"}}{"usage":{"prompt_tokens":1,"completion_tokens":2}}')
    assert (reader.prompt_tokens, reader.completion_tokens) == (1, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 9, 1_000_000])
@pytest.mark.parametrize(
    ("entries", "images"),
    [
        ([], 0),
        ([{"b64_json": "aGk="}], 1),
        ([{"url": "http://x/1.png"}, {"url": "http://x/2.png"}], 2),
        ([{"url": None, "b64_json": "aGk=", "revised_prompt": 'the "url" of'}] * 3, 3),
    ],
)
def test_images_are_counted_however_the_answer_is_split(entries: list[dict[str, str]], images: int, size: int) -> None:
    answer = json.dumps({"created": 1, "data": entries}).encode()
    reader = ImageReader()
    for start in range(0, len(answer), size):
        reader.feed(answer[start : start + size])
    assert reader.images == images


@pytest.mark.parametrize("key", [b'{"usage":', b'"usage":{"a":1},', b'"usage":{'])
def test_of_an_answer_full_of_usages_few_are_read(monkeypatch: pytest.MonkeyPatch, key: bytes) -> None:
    """Thousands that are one inside the other took the loop a third of a second for each part that was read."""
    decoded: list[str] = []

    def decode(text: str) -> tuple[object, int]:
        decoded.append(text)
        return json.JSONDecoder().raw_decode(text)

    monkeypatch.setattr(usage, "_decode", decode)
    assert read(key * 7_000 + json.dumps({"usage": USAGE}).encode()) == (12, 34)
    assert read(key * 7_000) == (None, None)
    assert 0 < len(decoded) < 32

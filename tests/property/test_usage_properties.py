"""The tokens of an answer do not depend on how the network has split it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from aicn.telemetry.usage import TokenReader

counts = st.integers(min_value=0, max_value=2**53)
usages = st.fixed_dictionaries(
    {"prompt_tokens": counts, "completion_tokens": counts},
    optional={"total_tokens": counts, "details": st.dictionaries(st.text(max_size=5), counts, max_size=3)},
)
words = st.text(max_size=20) | st.sampled_from(['"usage":{"prompt_tokens":1}', "usage", '"usage"', "}{"])
events = st.tuples(words, st.none() | usages)


def in_parts(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.lists(events, max_size=6), st.booleans(), st.lists(st.integers(min_value=0), max_size=12))
def test_the_last_usage_counts_however_a_stream_is_split(
    told: list[tuple[str, dict[str, object] | None]],
    spaced: bool,  # noqa: FBT001 - hypothesis draws it
    cuts: list[int],
) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    stream = b"".join(
        b"data: " + json.dumps({"content": word, "usage": usage}, separators=separators).encode() + b"\n\n"
        for word, usage in told
    )
    reader = TokenReader()
    for part in in_parts(stream, cuts):
        reader.feed(part)
    last = next((usage for _, usage in reversed(told) if usage is not None), {})
    assert reader.prompt_tokens == last.get("prompt_tokens")
    assert reader.completion_tokens == last.get("completion_tokens")


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_no_bytes_make_it_fail(parts: list[bytes]) -> None:
    reader = TokenReader()
    reader.feed(b'{"usage":')
    for part in parts:
        reader.feed(part)

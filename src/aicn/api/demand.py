"""How many tokens a request may take, as far as it can be told before it is answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from aicn import defaults
from aicn.endpoints import FORM_ENDPOINTS, WRITTEN, Endpoint
from aicn.routing import Ask
from aicn.wire.json_members import NO_JSON, whole_number


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request may take."""

    question_bytes: int = 0
    """Of what the model is to read."""
    answer_tokens: int | None = None
    """Most that the caller lets the model write; None: it did not say."""


_NONE: Final = msgspec.Raw(b"")


class _Limits(msgspec.Struct):
    """The fields that bound an answer, by their names in the APIs of OpenAI and Anthropic, as they stand."""

    max_tokens: msgspec.Raw = _NONE
    max_completion_tokens: msgspec.Raw = _NONE
    max_output_tokens: msgspec.Raw = _NONE
    n: msgspec.Raw = _NONE
    best_of: msgspec.Raw = _NONE
    prompt: msgspec.Raw = _NONE


_limits: Final = msgspec.json.Decoder(_Limits)
_SEVERAL: Final = re.compile(rb'\[\s*(["\[])')
"""How a list begins that is of texts, or of lists of tokens."""

_LOOK_BYTES: Final = 64


def demand_of(ask: Ask) -> Demand | None:
    """Return what `ask` may take; None: it takes no tokens, it only counts them."""
    if ask.endpoint is Endpoint.COUNT_TOKENS:
        return None
    if ask.endpoint in FORM_ENDPOINTS or not isinstance(ask.body, bytes):
        # Mostly files, whose size says nothing.
        return Demand(answer_tokens=0)
    # Pictures, sounds and vectors are not made of tokens.
    return Demand(len(ask.body), _answer_tokens(ask.body) if ask.endpoint in WRITTEN else 0)


def _answer_tokens(body: bytes) -> int | None:
    try:
        limits = _limits.decode(body)
    except NO_JSON:
        # It was an object when it was read; whatever is wrong with it, it bounds nothing.
        return None
    names = (limits.max_tokens, limits.max_completion_tokens, limits.max_output_tokens)
    # Servers differ in what 0 means: nothing, or no bound.
    told = max(whole_number(tokens) or 0 for tokens in names)
    if not told:
        return None
    answers = max(1, whole_number(limits.n) or 1, whole_number(limits.best_of) or 1)
    return min(told * answers * _prompts(limits.prompt), defaults.REQUEST_TOKENS_MAX)


def _prompts(prompt: msgspec.Raw) -> int:
    """Return how many questions a completion asks: a list holds several, unless it is one that is made of tokens."""
    several = _SEVERAL.match(memoryview(prompt)[:_LOOK_BYTES])
    if several is None:
        return 1
    # Not taken apart: each element would take a hundred bytes of memory. There are no more than that.
    text = bytes(prompt)
    return text.count(b'"') // 2 if several[1] == b'"' else text.count(b"[") - 1

"""How many tokens a request may take, as far as it can be told before it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from aicn import defaults
from aicn.endpoints import FORM_ENDPOINTS, Endpoint
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


_limits: Final = msgspec.json.Decoder(_Limits)


def demand_of(ask: Ask) -> Demand | None:
    """Return what `ask` may take; None: it takes no tokens, it only counts them."""
    if ask.endpoint is Endpoint.COUNT_TOKENS:
        return None
    if not isinstance(ask.body, bytes):
        # A form too large to be held, mostly files.
        return Demand()
    return Demand(len(ask.body), None if ask.endpoint in FORM_ENDPOINTS else _answer_tokens(ask.body))


def _answer_tokens(body: bytes) -> int | None:
    try:
        limits = _limits.decode(body)
    except NO_JSON:
        # It was an object when it was read; whatever is wrong with it, it bounds nothing.
        return None
    names = (limits.max_tokens, limits.max_completion_tokens, limits.max_output_tokens)
    told = [tokens for tokens in map(whole_number, names) if tokens is not None]
    if not told:
        return None
    return min(max(told) * max(1, whole_number(limits.n) or 1), defaults.REQUEST_TOKENS_MAX)

"""`/v1/completions`, the older API for plain text."""

from __future__ import annotations

from typing import Any

from support.model_answers.answer import CREATED, Answer, Refused, Request, count, event, events, tokens, whole
from support.model_answers.chat import DONE


def answer(request: Request) -> Answer:
    """Go on from each prompt, `n` times."""
    asked = request.json()
    prompt = asked.get("prompt")
    if not prompt:
        raise Refused(400, "prompt is missing", param="prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    texts = [_text(asked, str(each), turn) for each in prompts for turn in range(int(asked.get("n") or 1))]
    before, after = sum(count(str(each)) for each in prompts), sum(count(text) for text in texts)
    usage = {"prompt_tokens": before, "completion_tokens": after, "total_tokens": before + after}
    if asked.get("stream"):
        return events(_chunks(asked, texts, usage))
    choices = [_choice(index, text, "stop") for index, text in enumerate(texts)]
    return whole({**_head(asked), "choices": choices, "usage": usage})


def _text(asked: dict[str, Any], prompt: str, turn: int) -> str:
    going_on = f" and so on{f' {turn}' if turn else ''}{asked.get('suffix') or ''}"
    return prompt + going_on if asked.get("echo") else going_on


def _head(asked: dict[str, Any]) -> dict[str, Any]:
    return {"id": "cmpl-mock", "object": "text_completion", "created": CREATED, "model": asked["model"]}


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _chunks(asked: dict[str, Any], texts: list[str], usage: dict[str, int]) -> list[bytes]:
    head = _head(asked)
    found = []
    for index, text in enumerate(texts):
        found += [event({**head, "choices": [_choice(index, token, None)]}) for token in tokens(text)]
        found.append(event({**head, "choices": [_choice(index, "", "stop")]}))
    if (asked.get("stream_options") or {}).get("include_usage"):
        found.append(event({**head, "choices": [], "usage": usage}))
    return [*found, DONE]

"""`/v1/chat/completions`."""

from __future__ import annotations

import json
from typing import Any

from support.model_answers.answer import CREATED, Answer, Request, count, event, events, tokens, whole
from support.model_answers.conversation import prompt_tokens, reply
from support.model_answers.schema_values import value

ID = "chatcmpl-mock"
DONE = b"data: [DONE]\n\n"
LOGPROB = -0.25


def answer(request: Request) -> Answer:
    """Answer with words, with calls of the tools that were offered, or with JSON, as asked."""
    asked = request.json()
    messages = asked.get("messages") or []
    said = [_message(asked, reply(messages), index) for index in range(int(asked.get("n") or 1))]
    usage = _usage(messages, said)
    if asked.get("stream"):
        return events(_chunks(asked, said, usage))
    choices = [
        {
            "index": index,
            "message": message,
            "logprobs": _logprobs(asked, message["content"]),
            "finish_reason": _finish(asked, message),
        }
        for index, message in enumerate(said)
    ]
    return whole(
        {
            "id": ID,
            "object": "chat.completion",
            "created": CREATED,
            "model": asked["model"],
            "choices": choices,
            "usage": usage,
            "service_tier": None,
            "system_fingerprint": "mock",
        }
    )


def _message(asked: dict[str, Any], text: str, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if asked.get("reasoning_effort"):
        message["reasoning_content"] = f"think {asked['reasoning_effort']}"
    tools = asked.get("tools") or []
    answered = asked["messages"][-1].get("role") == "tool"
    if tools and not answered and asked.get("tool_choice") != "none":
        calling = tools if asked.get("parallel_tool_calls", True) else tools[:1]
        message["tool_calls"] = [_call(tool["function"], text, at) for at, tool in enumerate(calling)]
        return message
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_object":
        text = json.dumps({"answer": text})
    elif wanted.get("type") == "json_schema":
        text = json.dumps(value(wanted["json_schema"]["schema"], text))
    message["content"] = _cut(asked, f"{text} ({index})" if index else text)
    return message


def _call(function: dict[str, Any], text: str, at: int) -> dict[str, Any]:
    arguments = value(function.get("parameters") or {"type": "object"}, text)
    return {
        "id": f"call_{at}",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _cut(asked: dict[str, Any], text: str) -> str:
    stop = asked.get("stop") or []
    for each in [stop] if isinstance(stop, str) else stop:
        text = text.partition(each)[0]
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    return text if limit is None else "".join(tokens(text)[: int(limit)])


def _finish(asked: dict[str, Any], message: dict[str, Any]) -> str:
    if message.get("tool_calls"):
        return "tool_calls"
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    return "length" if limit is not None and count(message["content"]) >= int(limit) else "stop"


def _logprobs(asked: dict[str, Any], text: str | None) -> dict[str, Any] | None:
    if not asked.get("logprobs") or text is None:
        return None
    top = int(asked.get("top_logprobs") or 0)
    content = []
    for token in tokens(text):
        one = {"token": token, "logprob": LOGPROB, "bytes": list(token.encode())}
        content.append({**one, "top_logprobs": [one] * top})
    return {"content": content, "refusal": None}


def _usage(messages: list[Any], said: list[dict[str, Any]]) -> dict[str, Any]:
    before = prompt_tokens(messages)
    after = sum(count(message["content"] or "") + len(message.get("tool_calls", ())) for message in said)
    return {
        "prompt_tokens": before,
        "completion_tokens": after,
        "total_tokens": before + after,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _chunks(asked: dict[str, Any], said: list[dict[str, Any]], usage: dict[str, Any]) -> list[bytes]:
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))

    def chunk(choices: list[dict[str, Any]], used: dict[str, Any] | None = None) -> bytes:
        written: dict[str, Any] = {
            "id": ID,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": asked["model"],
            "system_fingerprint": "mock",
            "choices": choices,
        }
        if with_usage:
            # OpenAI writes null into every chunk but the last.
            written["usage"] = used
        return event(written)

    found = []
    for index, message in enumerate(said):
        for delta in _deltas(message):
            logprobs = _logprobs(asked, delta.get("content") or None)
            found.append(chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]))
        last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": _finish(asked, message)}
        found.append(chunk([last]))
    if with_usage:
        found.append(chunk([], usage))
    return [*found, DONE]


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut a message as a server writes it: the role first, the arguments of a tool's call in pieces."""
    calls = message.get("tool_calls", [])
    found: list[dict[str, Any]] = [{"role": "assistant", "content": None if calls else ""}]
    found += [{"reasoning_content": token} for token in tokens(message.get("reasoning_content", ""))]
    for at, call in enumerate(calls):
        function = call["function"]
        begun = {"index": at, "id": call["id"], "type": "function", "function": {**function, "arguments": ""}}
        found.append({"tool_calls": [begun]})
        arguments = function["arguments"]
        # Five characters at a time: pieces of JSON that are no JSON by themselves.
        found += [
            {"tool_calls": [{"index": at, "function": {"arguments": arguments[start : start + 5]}}]}
            for start in range(0, len(arguments), 5)
        ]
    return found + [{"content": token} for token in tokens(message["content"] or "")]

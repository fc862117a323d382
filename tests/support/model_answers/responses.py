"""`/v1/responses`: whole, or as the named events that its stream is made of."""

from __future__ import annotations

import json
from typing import Any

from support.model_answers.answer import CREATED, Answer, Refused, Request, count, event, events, tokens, whole
from support.model_answers.conversation import prompt_tokens, reply
from support.model_answers.schema_values import value

ID = "resp_mock"


def answer(request: Request) -> Answer:
    """Answer with words, or with calls of the functions that were offered."""
    asked = request.json()
    given = asked.get("input")
    if not given:
        raise Refused(400, "input is missing", param="input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    text = reply([message for message in messages if message.get("type", "message") == "message"])
    functions = [tool for tool in asked.get("tools") or [] if tool["type"] == "function"]
    output = [_call(each, text, at) for at, each in enumerate(functions)] or [_message(_formed(asked, text))]
    before, after = prompt_tokens(messages), count(text)
    usage = {
        "input_tokens": before,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": after,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": before + after,
    }
    done = _response(asked, "completed", output, usage)
    return events(_events(asked, done)) if asked.get("stream") else whole(done)


def _formed(asked: dict[str, Any], text: str) -> str:
    wanted = (asked.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(value(wanted["schema"], text))
    return text


def _response(
    asked: dict[str, Any], status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": ID,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata") or {},
        "model": asked["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": asked.get("tools") or [],
        "top_p": 1.0,
        "usage": usage,
    }


def _message(text: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_mock",
        "status": "completed",
        "role": "assistant",
        "content": [_part(text)],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _call(function: dict[str, Any], text: str, at: int) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{at}",
        "call_id": f"call_{at}",
        "name": function["name"],
        "arguments": json.dumps(value(function["parameters"], text), ensure_ascii=False),
        "status": "completed",
    }


def _events(asked: dict[str, Any], done: dict[str, Any]) -> list[bytes]:
    begun = _response(asked, "in_progress", [], None)
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(done["output"]):
        told += _item_events(item, index)
    told.append({"type": "response.completed", "response": done})
    return [event({**each, "sequence_number": number}, each["type"]) for number, each in enumerate(told)]


def _item_events(item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    at: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    if item["type"] == "function_call":
        arguments = item["arguments"]
        name = "response.function_call_arguments"
        pieces = [arguments[start : start + 5] for start in range(0, len(arguments), 5)]
        middle = [{"type": f"{name}.delta", **at, "delta": piece} for piece in pieces]
        middle.append({"type": f"{name}.done", **at, "name": item["name"], "arguments": arguments})
        empty = {**item, "arguments": "", "status": "in_progress"}
    else:
        (part,) = item["content"]
        inside = {**at, "content_index": 0}
        name = "response.output_text"
        middle = [{"type": "response.content_part.added", **inside, "part": _part("")}]
        middle += [
            {"type": f"{name}.delta", **inside, "delta": token, "logprobs": []} for token in tokens(part["text"])
        ]
        middle.append({"type": f"{name}.done", **inside, "text": part["text"], "logprobs": []})
        middle.append({"type": "response.content_part.done", **inside, "part": part})
        empty = {**item, "content": [], "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": empty},
        *middle,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]

"""`/v1/messages`, Anthropic's API: whole, or as its named events."""

from __future__ import annotations

import json
from typing import Any

from support.model_answers.answer import Answer, Refused, Request, count, event, events, tokens, whole
from support.model_answers.conversation import prompt_tokens, reply
from support.model_answers.schema_values import value


def answer(request: Request) -> Answer:
    """Answer with words, with thoughts before them, or with the use of the tools that were offered."""
    asked = request.json()
    if "max_tokens" not in asked:
        raise Refused(400, "max_tokens: Field required")
    messages = asked.get("messages") or []
    text = reply(messages)
    blocks = _blocks(asked, text)
    used = {"input_tokens": prompt_tokens(messages), "output_tokens": sum(count(_words(each)) for each in blocks)}
    reason = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    if asked.get("stream"):
        return events(_events(asked, blocks, used, reason))
    return whole(_message(asked, blocks, used, reason))


def counted(request: Request) -> Answer:
    """Answer how many tokens a message would be."""
    return whole({"input_tokens": prompt_tokens(request.json().get("messages") or [])})


def _blocks(asked: dict[str, Any], text: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if (asked.get("thinking") or {}).get("type") == "enabled":
        blocks.append({"type": "thinking", "thinking": "think of it", "signature": "c2lnbmVk"})
    tools = asked.get("tools") or []
    if not tools:
        return [*blocks, {"type": "text", "text": text}]
    return blocks + [
        {"type": "tool_use", "id": f"toolu_{at}", "name": tool["name"], "input": value(tool["input_schema"], text)}
        for at, tool in enumerate(tools)
    ]


def _words(block: dict[str, Any]) -> str:
    return str(block.get("text") or block.get("thinking") or json.dumps(block.get("input")))


def _message(
    asked: dict[str, Any], blocks: list[dict[str, Any]], used: dict[str, int], reason: str | None
) -> dict[str, Any]:
    return {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": used,
    }


def _events(asked: dict[str, Any], blocks: list[dict[str, Any]], used: dict[str, int], reason: str) -> list[bytes]:
    begun = _message(asked, [], {**used, "output_tokens": 0}, None)
    told: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        empty = {name: "" if name in {"text", "thinking", "signature"} else said for name, said in block.items()}
        if "input" in block:
            empty["input"] = {}
        told.append({"type": "content_block_start", "index": index, "content_block": empty})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(block)]
        told.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": reason, "stop_sequence": None}
    told.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": used["output_tokens"]}})
    told.append({"type": "message_stop"})
    return [event(each, each["type"]) for each in told]


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": token} for token in tokens(block["text"])]
    if block["type"] == "thinking":
        found = [{"type": "thinking_delta", "thinking": token} for token in tokens(block["thinking"])]
        return [*found, {"type": "signature_delta", "signature": block["signature"]}]
    written = json.dumps(block["input"], ensure_ascii=False)
    pieces = [written[start : start + 5] for start in range(0, len(written), 5)]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]

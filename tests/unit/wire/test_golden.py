"""Every gossip payload recorded from the network decodes, decrypts, and re-encodes to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aicn.errors import MalformedMessage, SealError
from aicn.identity import PrivateKey
from aicn.ids import PeerId
from aicn.wire.envelope import open_reply, open_request
from aicn.wire.messages import (
    AIProjectRequest,
    AIProjectResponse,
    ChatCompletionRequest,
    ChatCompletionResponse,
    HostInfoRequest,
    HostInfoResponse,
    ImageGenerationRequest,
    ImageGenerationResponse,
    Message,
    MessageType,
    ModelEntry,
    PeerIdentityRequest,
    PeerIdentityResponse,
    ProjectModels,
    decode_body,
    decode_message,
    encode_body,
    encode_message,
)
from aicn.wire.seal import NONCE_BYTES, open_sealed, seal

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "golden-wire.json").read_text(encoding="utf-8")
)
KEYS = {
    PeerId(RECORDED[role]["PeerID"]): PrivateKey.from_base64(RECORDED[role]["PrivKey"]) for role in ("input", "worker")
}
PAYLOADS = [bytes.fromhex(each["hex"]) for each in RECORDED["messages"]]
SOURCES = [PeerId(each["from"]) for each in RECORDED["messages"]]
NUMBERED = [
    pytest.param(payload, source, id=str(n)) for n, (payload, source) in enumerate(zip(PAYLOADS, SOURCES, strict=True))
]


def _sealed(message: Message) -> bool:
    return bool(message.header.id and message.body)


@pytest.mark.parametrize(("payload", "source"), NUMBERED)
def test_message_reencodes_to_the_same_bytes(payload: bytes, source: PeerId) -> None:
    message = decode_message(payload)
    assert message.header.node_id == source
    assert encode_message(message) == payload


@pytest.mark.parametrize(("payload", "source"), NUMBERED)
def test_body_opens_and_reencodes_to_the_same_bytes(payload: bytes, source: PeerId) -> None:
    message = decode_message(payload)
    if not message.body:
        assert message.result_code != 0
        return
    if not _sealed(message):
        assert encode_body(decode_body(message.type, message.body)) == message.body
        return
    receiver = KEYS[PeerId(message.header.receiver)]
    plain = open_sealed(message.body, receiver, KEYS[source].public)
    assert encode_body(decode_body(message.type, plain)) == plain
    assert seal(plain, KEYS[source], receiver.public, nonce=message.body[:NONCE_BYTES]) == message.body


def test_every_kind_of_message_was_recorded() -> None:
    seen = set()
    for payload, source in zip(PAYLOADS, SOURCES, strict=True):
        message = decode_message(payload)
        if _sealed(message):
            body = open_sealed(message.body, KEYS[PeerId(message.header.receiver)], KEYS[source].public)
            seen.add(type(decode_body(message.type, body)))
        elif message.body:
            seen.add(type(decode_body(message.type, message.body)))
    assert seen == {
        PeerIdentityRequest,
        PeerIdentityResponse,
        HostInfoRequest,
        HostInfoResponse,
        AIProjectRequest,
        AIProjectResponse,
        ChatCompletionRequest,
        ChatCompletionResponse,
        ImageGenerationRequest,
        ImageGenerationResponse,
    }


def test_heartbeat_says_what_was_served() -> None:
    heartbeat = next(message for message in map(decode_message, PAYLOADS) if not message.header.id)
    assert heartbeat.type is MessageType.AI_PROJECT
    assert heartbeat.result_message == "heartbeat"
    body = decode_body(heartbeat.type, heartbeat.body)
    assert isinstance(body, AIProjectResponse)
    assert body.node_type == 4
    assert body.projects[0] == ProjectModels(
        "P", (ModelEntry("m1", "http://127.0.0.1:9009/v1/chat/completions", 0, 1, "c1"),)
    )


def test_recorded_request_opens_for_its_receiver_only() -> None:
    message = decode_message(PAYLOADS[0])
    receiver = KEYS[PeerId(message.header.receiver)]
    request = open_request(message, receiver)
    assert request.sender == SOURCES[0]
    assert isinstance(request.body, PeerIdentityRequest)
    with pytest.raises(MalformedMessage):
        open_request(message, KEYS[SOURCES[0]])


def test_recorded_reply_opens_if_it_comes_from_who_was_asked() -> None:
    message = decode_message(PAYLOADS[1])
    asker = KEYS[PeerId(message.header.receiver)]
    reply = open_reply(message, asker, SOURCES[1])
    assert isinstance(reply.body, PeerIdentityResponse)
    assert reply.body.protocol_version == "aicn/0.0.1"
    with pytest.raises(MalformedMessage):
        open_reply(message, asker, asker.public.peer_id)


def test_recorded_error_reply_is_an_error() -> None:
    message = next(each for each in map(decode_message, PAYLOADS) if each.result_code)
    reply = open_reply(message, KEYS[PeerId(message.header.receiver)], PeerId(message.header.node_id))
    assert reply.body is None
    assert (reply.code, reply.message) == (1007, "can not find in registered project and model")


def test_changed_body_does_not_open() -> None:
    message = decode_message(PAYLOADS[0])
    changed = message.body[:-1] + bytes([message.body[-1] ^ 1])
    with pytest.raises(SealError):
        open_sealed(changed, KEYS[PeerId(message.header.receiver)], KEYS[SOURCES[0]].public)

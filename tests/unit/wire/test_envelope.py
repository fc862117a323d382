from __future__ import annotations

from dataclasses import replace

import pytest

from aicn.errors import MalformedMessage, SealError
from aicn.identity import PrivateKey
from aicn.wire.envelope import build_error, build_reply, build_request, open_reply, open_request
from aicn.wire.messages import (
    AIProjectRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatRequestMessage,
    Message,
    decode_message,
    encode_body,
    encode_message,
)

ASKER, ASKED, OTHER = (PrivateKey.generate() for _ in range(3))
CHAT = ChatCompletionRequest("P", "m", (ChatRequestMessage("user", b'"hi"'),), temperature=0.5)


def _sent(message: Message) -> Message:
    return decode_message(encode_message(message))


def test_request_and_reply_round_trip() -> None:
    sent = _sent(build_request(CHAT, ASKER, ASKED.public, now_unix=5.9))
    assert sent.header.timestamp == 5
    request = open_request(sent, ASKED)
    assert (request.body, request.sender) == (CHAT, ASKER.public.peer_id)
    answer = ChatCompletionResponse(created=1, id="x")
    reply = open_reply(_sent(build_reply(answer, request, ASKED, now_unix=6)), ASKER, ASKED.public.peer_id)
    assert (reply.id, reply.body, reply.code) == (request.id, answer, 0)


def test_error_reply_round_trips_without_a_body() -> None:
    request = _sent(build_request(CHAT, ASKER, ASKED.public, now_unix=0))
    sent = _sent(build_error(1007, "no such model", request, ASKED, now_unix=0))
    assert (sent.body, sent.type) == (b"", request.type)
    reply = open_reply(sent, ASKER, ASKED.public.peer_id)
    assert (reply.body, reply.code, reply.message) == (None, 1007, "no such model")
    with pytest.raises(MalformedMessage):
        build_error(0, "no error", request, ASKED, now_unix=0)


def test_request_ids_are_never_the_same() -> None:
    assert len({build_request(CHAT, ASKER, ASKED.public, now_unix=0).header.id for _ in range(50)}) == 50


def test_request_whose_body_is_not_sealed_is_refused() -> None:
    sealed = build_request(CHAT, ASKER, ASKED.public, now_unix=0)
    with pytest.raises(SealError):
        open_request(replace(sealed, body=encode_body(CHAT)), ASKED)
    with pytest.raises(SealError):
        open_request(replace(sealed, body=b""), ASKED)


def test_request_in_the_name_of_another_is_refused() -> None:
    honest = build_request(CHAT, ASKER, ASKED.public, now_unix=0)
    for header in (
        replace(honest.header, node_id=OTHER.public.peer_id),
        replace(honest.header, node_pub_key=OTHER.public.protobuf),
        replace(honest.header, node_pub_key=b""),
        replace(honest.header, id=""),
        replace(honest.header, receiver=OTHER.public.peer_id),
    ):
        with pytest.raises(MalformedMessage):
            open_request(replace(honest, header=header), ASKED)


def test_reply_of_somebody_who_was_not_asked_is_refused() -> None:
    request = build_request(AIProjectRequest(), ASKER, ASKED.public, now_unix=0)
    forged = build_error(1, "forged", request, OTHER, now_unix=0)
    with pytest.raises(MalformedMessage):
        open_reply(forged, ASKER, ASKED.public.peer_id)


def test_request_is_no_reply_and_reply_no_request() -> None:
    asked = build_request(CHAT, ASKER, ASKED.public, now_unix=0)
    with pytest.raises(MalformedMessage):
        open_reply(asked, ASKED, ASKER.public.peer_id)
    answered = build_reply(ChatCompletionResponse(), open_request(asked, ASKED), ASKED, now_unix=0)
    with pytest.raises(MalformedMessage):
        open_request(answered, ASKER)

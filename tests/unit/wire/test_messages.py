from __future__ import annotations

import pytest

from aicn import defaults
from aicn.errors import MalformedMessage
from aicn.wire import protocol_pb2
from aicn.wire.messages import (
    AIProjectResponse,
    Header,
    Message,
    MessageType,
    ModelEntry,
    ProjectModels,
    decode_body,
    decode_message,
    encode_body,
    encode_message,
)


def _with_type(number: int) -> bytes:
    encoded = protocol_pb2.Message(header=protocol_pb2.MessageHeader(node_id="a"))
    return encoded.SerializeToString() + b"\x10" + bytes([number])


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xff", id="garbage"),
        pytest.param(b"\x10\x02", id="no header"),
        pytest.param(_with_type(7), id="unknown type"),
        pytest.param(b"\x0a\x04\x22\x02\xc3\x28", id="text that is not UTF-8"),
        pytest.param(b"\x0a\x00" + b"\x1a\x80\x80\x40" + b"x" * (1 << 20), id="longer than gossip carries"),
        pytest.param(b"\x0a\x00\x1a\x05ab", id="cut"),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(payload)


@pytest.mark.parametrize("type_", list(MessageType))
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x0a\x7f", b"\x1a\x00"])
def test_what_is_no_body_is_refused(type_: MessageType, body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_body(type_, body)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    message = Message(Header(node_id="a"), MessageType.AI_PROJECT, b"x")
    assert decode_message(encode_message(message) + b"\xfa\x07\x03new") == message


def test_message_of_too_many_parts_is_refused() -> None:
    many = AIProjectResponse((ProjectModels("p", (ModelEntry(),) * defaults.GOSSIP_MAX_PARTS),))
    with pytest.raises(MalformedMessage, match="parts"):
        decode_body(MessageType.AI_PROJECT, encode_body(many))


@pytest.mark.parametrize("idle", [-1, 2**32])
def test_number_that_does_not_fit_is_refused(idle: int) -> None:
    with pytest.raises(MalformedMessage):
        encode_body(AIProjectResponse((ProjectModels("p", (ModelEntry(idle=idle),)),)))


def test_message_longer_than_gossip_carries_is_not_built() -> None:
    with pytest.raises(MalformedMessage):
        encode_message(Message(Header(), MessageType.AI_PROJECT, b"x" * defaults.GOSSIP_MAX_BYTES))

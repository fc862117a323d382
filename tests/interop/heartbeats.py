"""Heartbeats as the nodes of the network write them, encoded and read here by hand.

The encoding of the program under test has no part in it: what it writes is compared with this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from interop.oracle_build import OracleFailed

AI_PROJECT: Final = 2
HAS_MODELS: Final = 4

Value = int | bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """One model in a heartbeat."""

    project: str
    model: str
    api: str = "http://127.0.0.1:9009/v1/chat/completions"
    kind: int = 0
    in_flight: int = 0
    cid: str = ""


def encode_heartbeat(peer: str, offers: Sequence[Offered], timestamp: int, *, node_type: int = HAS_MODELS) -> bytes:
    """Return the heartbeat of `peer`: fields in the order of their numbers, those of value zero left out."""
    projects = b"".join(
        _field(1, _field(1, project) + b"".join(_field(2, _offer(one)) for one in offers if one.project == project))
        for project in dict.fromkeys(one.project for one in offers)
    )
    header = _field(2, timestamp) + _field(4, peer)
    body = _field(2, projects + _field(2, node_type), always=True)
    return _field(1, header) + _field(2, AI_PROJECT) + _field(3, body) + _field(5, "heartbeat")


def _offer(one: Offered) -> bytes:
    return (
        _field(1, one.model) + _field(2, one.api) + _field(3, one.kind) + _field(4, one.in_flight) + _field(5, one.cid)
    )


def _field(number: int, value: str | Value, *, always: bool = False) -> bytes:
    if not value and not always:
        return b""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


@dataclass(frozen=True, slots=True)
class Told:
    """What a heartbeat says."""

    node_id: str
    timestamp: int
    node_type: int
    offers: tuple[Offered, ...]


def read_heartbeat(data: bytes) -> Told:
    """Return what a heartbeat says; `OracleFailed` if it is another message or has what a heartbeat has not."""
    message = dict(_fields(data))
    header, body = dict(_fields(_raw(message[1]))), dict(_fields(_raw(message[3])))
    if set(message) != {1, 2, 3, 5} or message[2] != AI_PROJECT or message[5] != b"heartbeat":
        raise OracleFailed(f"no heartbeat: {message}")
    if not {2, 4} <= set(header) <= {1, 2, 4} or set(body) != {2}:
        raise OracleFailed(f"no header or body of a heartbeat: {header}, {body}")
    answer = list(_fields(_raw(body[2])))
    projects = [list(_fields(_raw(value))) for number, value in answer if number == 1]
    return Told(
        _raw(header[4]).decode(),
        _number(header[2]),
        _number(dict(answer).get(2, 0)),
        tuple(
            _read_offer(_raw(dict(project)[1]).decode(), _raw(value))
            for project in projects
            for number, value in project
            if number == 2
        ),
    )


def _read_offer(project: str, data: bytes) -> Offered:
    found = dict(_fields(data))
    text = {number: _raw(found.get(number, b"")).decode() for number in (1, 2, 5)}
    return Offered(project, text[1], text[2], _number(found.get(3, 0)), _number(found.get(4, 0)), text[5])


def _raw(value: Value) -> bytes:
    assert isinstance(value, bytes), f"a number where bytes belong: {value}"
    return value


def _number(value: Value) -> int:
    assert isinstance(value, int), f"bytes where a number belongs: {value.hex()}"
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        match tag & 7:
            case 0:
                yield tag >> 3, value
            case 2:
                yield tag >> 3, data[at : at + value]
                at += value
            case wire_type:
                raise OracleFailed(f"wire type {wire_type} in {data.hex()}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at

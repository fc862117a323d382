"""The document of the wire protocol has the numbers of the protocol itself, and those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from aicn import defaults
from aicn.wire import protocol_pb2

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "wire-protocol.md").read_text(encoding="utf-8")
MESSAGES: dict[str, Any] = dict(protocol_pb2.DESCRIPTOR.message_types_by_name)
SHOWN = [name for name, message in MESSAGES.items() if message.fields and not name.endswith("Body")]


def section(name: str) -> list[tuple[str, str, str]]:
    """Return the rows of a message: number, field, type."""
    found = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return re.findall(r"^\| (\d+) \| `(\w+)` \| ([\w ]+?) \|", found[1], flags=re.MULTILINE)


def type_of(field: Any) -> str:
    named = field.message_type or field.enum_type
    plain = next(
        name.removeprefix("TYPE_").lower()
        for name, number in vars(FieldDescriptor).items()
        if name.startswith("TYPE_") and number == field.type
    )
    return ("repeated " if field.is_repeated else "") + (named.name if named else plain)


@pytest.mark.parametrize("name", SHOWN)
def test_every_field_is_described_with_its_number(name: str) -> None:
    assert section(name) == [(str(field.number), field.name, type_of(field)) for field in MESSAGES[name].fields]


def test_every_kind_of_message_is_described_with_its_number() -> None:
    kinds = protocol_pb2.DESCRIPTOR.enum_types_by_name["MessageType"].values_by_name
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", DOCUMENT, flags=re.MULTILINE)
    assert rows == [(str(kind.number), name) for name, kind in kinds.items()]


def test_every_body_is_a_question_or_an_answer_with_these_numbers() -> None:
    bodies = [message for name, message in MESSAGES.items() if name.endswith("Body")]
    assert len(bodies) == 5
    for body in bodies:
        assert {field.name: field.number for field in body.fields} == {"req": 1, "res": 2}
    assert "`req = 1`" in DOCUMENT
    assert "`res = 2`" in DOCUMENT


def test_no_message_is_described_that_is_gone() -> None:
    named = set(re.findall(r"^### `(\w+)`", DOCUMENT, flags=re.MULTILINE))
    assert named == {*SHOWN, "MessageType"}


def test_numbers_of_the_text_are_those_of_the_code() -> None:
    assert f"`{defaults.CHAT_PROXY_PROTOCOL}`" in DOCUMENT
    assert f"`{defaults.PROTOCOL_VERSION}`" in DOCUMENT
    assert f"/dbc{defaults.KAD_PROTOCOL_SUFFIX}`" in DOCUMENT
    assert defaults.GOSSIP_MAX_BYTES == 1 << 20
    assert "1 MiB at most" in DOCUMENT
    assert (defaults.PEER_ELIGIBLE_S, defaults.PEER_LISTED_S, defaults.PEER_FORGOTTEN_S) == (600, 43_200, 86_400)
    assert "10 minutes" in DOCUMENT
    assert "12 hours" in DOCUMENT
    assert "24 hours" in DOCUMENT

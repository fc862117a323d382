"""A heartbeat says what the reference's says, and is believed only of its signer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.errors import MalformedMessage
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.p2p.host import GossipMessage
from aicn.peers import Heartbeat, NodeFlags, Offer, build_heartbeat, read_heartbeat
from aicn.registry import Model
from aicn.wire.messages import (
    AIProjectRequest,
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

_OWN = PeerId("16Uiu2HAkySmNMz6rXs19AjGfC4MxHqvgRPXEa81eCL5Ub5cBWWWb")
_OTHER = PeerId("16Uiu2HAmPiHKEFLxpMBofpTEAiw7553Yhakrxxi2cuTuzMCSnhgp")
_NOW_UNIX_S = 1_700_000_000.9


def _gossip(data: bytes, source: PeerId = _OWN) -> GossipMessage:
    return GossipMessage("DeepBrainChain", source, bytes(8), data)


def _heartbeat_with(projects: tuple[ProjectModels, ...], node_type: int = 4) -> bytes:
    return encode_message(
        Message(
            header=Header(node_id=_OWN, timestamp=7),
            type=MessageType.AI_PROJECT,
            body=encode_body(AIProjectResponse(projects, node_type)),
            result_message="heartbeat",
        )
    )


def _entry(model: str = "m", kind: int = 0, cid: str = "c", idle: int = 0) -> ModelEntry:
    return ModelEntry(model=model, api="http://somewhere/", type=kind, idle=idle, cid=cid)


_MODELS = (
    Model.of("P", "m", "http://127.0.0.1:8000/chat", 0, "1"),
    Model.of("Q", "n", "http://127.0.0.1:8001/draw", 2, ""),
    Model.of("P", "m", "http://127.0.0.1:8002/chat", 0, "2"),
)


def _busy(model: Model) -> int:
    return {"1": 3, "2": 0}.get(model.cid, 2**40)


def test_what_is_built_is_read() -> None:
    data = build_heartbeat(_OWN, _MODELS, _busy, NodeFlags.PUBLIC, _NOW_UNIX_S, reveal_api=False)
    heartbeat = read_heartbeat(_gossip(data))
    assert heartbeat is not None
    assert heartbeat == Heartbeat(
        _OWN,
        NodeFlags.PUBLIC | NodeFlags.HAS_MODELS,
        (
            Offer(ProjectName("P"), ModelName("m"), InstanceId("1"), ModelKind.CHAT, 3),
            Offer(ProjectName("P"), ModelName("m"), InstanceId("2"), ModelKind.CHAT, 0),
            Offer(ProjectName("Q"), ModelName("n"), InstanceId(""), ModelKind.IMAGE_EDIT, 2**32 - 1),
        ),
        1_700_000_000,
    )


def test_the_message_has_the_reference_s_form() -> None:
    data = build_heartbeat(
        _OWN, _MODELS, _busy, NodeFlags.COLLECTS, _NOW_UNIX_S, reveal_api=True, client_version="AIComputingNode@x"
    )
    message = decode_message(data)
    assert message.header == Header(client_version="AIComputingNode@x", timestamp=1_700_000_000, node_id=_OWN)
    assert (message.type, message.result_code, message.result_message) == (MessageType.AI_PROJECT, 0, "heartbeat")
    body = decode_body(MessageType.AI_PROJECT, message.body)
    assert isinstance(body, AIProjectResponse)
    assert body.node_type == 2 | 4
    assert [(each.project, [model.api for model in each.models]) for each in body.projects] == [
        ("P", ["http://127.0.0.1:8000/chat", "http://127.0.0.1:8002/chat"]),
        ("Q", ["http://127.0.0.1:8001/draw"]),
    ]


def test_urls_stay_here_unless_they_are_to_be_revealed() -> None:
    data = build_heartbeat(_OWN, _MODELS, _busy, NodeFlags(0), _NOW_UNIX_S, reveal_api=False)
    assert b"127.0.0.1" not in data
    assert b"http" not in data


def test_a_goodbye_takes_back_the_models() -> None:
    data = build_heartbeat(_OWN, (), _busy, NodeFlags.PUBLIC | NodeFlags.HAS_MODELS, _NOW_UNIX_S, reveal_api=False)
    assert read_heartbeat(_gossip(data)) == Heartbeat(_OWN, NodeFlags.PUBLIC, (), 1_700_000_000)


def test_the_largest_registry_fits_into_one_gossip_message() -> None:
    """Every field as long as it may be, and each model in a project of its own."""
    models = [
        Model.of(
            f"{number:0{defaults.NAME_MAX_BYTES}}",
            f"{number:0{defaults.NAME_MAX_BYTES}}",
            "http://127.0.0.1/".ljust(defaults.MODEL_API_MAX_BYTES, "x"),
            2,
            f"{number:0{defaults.NAME_MAX_BYTES}}",
        )
        for number in range(defaults.REGISTRY_MAX_MODELS)
    ]
    data = build_heartbeat(_OWN, models, lambda _: 2**32, NodeFlags(7), _NOW_UNIX_S, reveal_api=True)
    assert len(data) < defaults.GOSSIP_MAX_BYTES
    heartbeat = read_heartbeat(_gossip(data))
    assert heartbeat is not None
    assert len(heartbeat.offers) == defaults.REGISTRY_MAX_MODELS


def test_a_heartbeat_in_another_s_name_is_refused() -> None:
    data = build_heartbeat(_OWN, _MODELS, _busy, NodeFlags(0), _NOW_UNIX_S, reveal_api=False)
    with pytest.raises(MalformedMessage, match="was signed by " + _OTHER):
        read_heartbeat(_gossip(data, _OTHER))


@pytest.mark.parametrize(
    "message",
    [
        Message(header=Header(node_id=_OWN, id="uuid", receiver=_OTHER), type=MessageType.AI_PROJECT, body=b"sealed"),
        Message(header=Header(node_id=_OWN, id="uuid"), type=MessageType.AI_PROJECT, body=b"sealed"),
        Message(header=Header(node_id=_OWN, receiver=_OTHER), type=MessageType.AI_PROJECT, body=b"sealed"),
        Message(header=Header(node_id=_OWN), type=MessageType.HOST_INFO, body=b""),
        Message(header=Header(node_id=_OWN), type=MessageType.AI_PROJECT, body=encode_body(AIProjectRequest())),
    ],
)
def test_other_messages_are_not_heartbeats(message: Message) -> None:
    assert read_heartbeat(_gossip(encode_message(message))) is None
    assert read_heartbeat(_gossip(encode_message(message), _OTHER)) is None


def test_a_body_that_is_none_is_malformed() -> None:
    message = Message(header=Header(node_id=_OWN), type=MessageType.AI_PROJECT, body=b"\xff\xff sealed?")
    with pytest.raises(MalformedMessage):
        read_heartbeat(_gossip(encode_message(message)))
    with pytest.raises(MalformedMessage):
        read_heartbeat(_gossip(b"\xff not protobuf"))


def test_unusable_offers_are_left_out_and_the_others_count() -> None:
    good = _entry("good")
    projects = (
        ProjectModels("", (_entry(),)),
        ProjectModels("P\n", (_entry(),)),
        ProjectModels("x" * 257, (_entry(),)),
        ProjectModels(
            "P",
            (
                _entry(""),
                _entry("m\x00"),
                _entry("x" * 257),
                _entry(kind=3),
                _entry(kind=2**32 - 1),
                _entry(cid="c\x1b[31m"),
                _entry(cid="x" * 257),
                good,
                _entry("good", kind=1, idle=9),
            ),
        ),
        ProjectModels("P", (_entry("good", idle=8), _entry("better", idle=5))),
        ProjectModels("empty", ()),
    )
    heartbeat = read_heartbeat(_gossip(_heartbeat_with(projects)))
    assert heartbeat is not None
    assert [(each.project, each.model, each.kind, each.in_flight) for each in heartbeat.offers] == [
        ("P", "good", ModelKind.CHAT, 0),
        ("P", "better", ModelKind.CHAT, 5),
    ]


def test_offers_of_one_peer_are_bounded() -> None:
    entries = tuple(_entry(cid=str(number)) for number in range(defaults.PEER_MAX_OFFERS + 50))
    heartbeat = read_heartbeat(_gossip(_heartbeat_with((ProjectModels("P", entries), ProjectModels("Q", entries)))))
    assert heartbeat is not None
    assert [each.cid for each in heartbeat.offers] == [str(number) for number in range(defaults.PEER_MAX_OFFERS)]


@pytest.mark.parametrize(("node_type", "flags"), [(0, 0), (7, 7), (8, 0), (0xFFFFFFFF, 7), (5, 5)])
def test_flags_not_known_are_left_out(node_type: int, flags: int) -> None:
    heartbeat = read_heartbeat(_gossip(_heartbeat_with((), node_type)))
    assert heartbeat is not None
    assert heartbeat.flags == NodeFlags(flags)


_NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)
_SERVED = st.builds(Model.of, _NAMES, _NAMES, st.just("http://127.0.0.1/"), st.integers(0, 2), _NAMES)


@given(
    st.lists(_SERVED, max_size=20, unique_by=lambda model: model.key),
    st.integers(0, 2**32 - 1),
    st.integers(0, 7),
    st.integers(0, 2**62),
    st.booleans(),
)
def test_any_registry_is_read_as_it_was_written(
    models: list[Model],
    busy: int,
    node_type: int,
    now_unix: int,
    reveal_api: bool,  # noqa: FBT001 - drawn
) -> None:
    flags = NodeFlags(node_type)
    data = build_heartbeat(_OWN, models, lambda _: busy, flags, now_unix, reveal_api=reveal_api)
    heartbeat = read_heartbeat(_gossip(data))
    assert heartbeat is not None
    assert (heartbeat.peer, heartbeat.sent_unix_s) == (_OWN, now_unix)
    assert heartbeat.flags == (flags | NodeFlags.HAS_MODELS if models else flags & ~NodeFlags.HAS_MODELS)
    written = {Offer(each.project, each.model, each.cid, each.kind, busy) for each in models}
    assert set(heartbeat.offers) == written
    assert len(heartbeat.offers) == len(models)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_heartbeat_or_not_or_malformed(data: bytes) -> None:
    try:
        heartbeat = read_heartbeat(_gossip(data))
    except MalformedMessage:
        return
    assert heartbeat is None or heartbeat.peer == _OWN


def _recorded() -> list[tuple[PeerId, bytes]]:
    path = Path(__file__).parents[2] / "fixtures" / "golden-wire.json"
    recorded = json.loads(path.read_text())
    return [(PeerId(each["from"]), bytes.fromhex(each["hex"])) for each in recorded["messages"]]


def test_recorded_heartbeats_of_the_reference_are_read() -> None:
    found = [
        heartbeat for source, data in _recorded() if (heartbeat := read_heartbeat(_gossip(data, source))) is not None
    ]
    assert {each.peer for each in found} == {_OWN, _OTHER}
    served = {(each.peer, offer.project, offer.model, offer.cid) for each in found for offer in each.offers}
    assert (_OWN, "P", "m1", "c1") in served

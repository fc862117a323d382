"""What holds for every codec: nothing is lost on the way there and back, and garbage is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicn.errors import AddressError, IdentityError, MalformedFrame, MalformedMessage, SealError, WireError
from aicn.identity import PrivateKey, PublicKey
from aicn.multiaddr import base58_decode, base58_encode, parse, parse_peer_id
from aicn.wire import messages
from aicn.wire.envelope import open_reply, open_request
from aicn.wire.http_frames import (
    LAST_CHUNK,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    build_model_target,
    encode_chunk,
    encode_request_head,
    encode_response_head,
    split_model_query,
)
from aicn.wire.messages import (
    Header,
    Message,
    MessageType,
    decode_body,
    decode_message,
    encode_body,
    encode_message,
)
from aicn.wire.seal import open_sealed, seal

ONE, OTHER = PrivateKey.generate(), PrivateKey.generate()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
UNSIGNED = {"type", "idle", "node_type", "total_cores", "total_threads"}
WIDE = {"timestamp", "created", "total_physical_bytes", "total_usable_bytes"}
FLOAT = st.floats(width=32, allow_nan=False)
"""What a protobuf float holds exactly."""


def _value(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(hint) is tuple:
        return st.lists(_value(name, typing.get_args(hint)[0]), max_size=3).map(tuple)
    if isinstance(hint, types.UnionType):
        return st.none() | _built(typing.get_args(hint)[0])
    if dataclasses.is_dataclass(hint):
        return _built(typing.cast("type[Any]", hint))
    if hint is int:
        if name == "size_bytes":
            return st.integers(0, 2**64 - 1)
        bits = 64 if name in WIDE else 32
        return st.integers(0, 2**bits - 1) if name in UNSIGNED else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        bytes: st.binary(max_size=30),
        bool: st.booleans(),
        float: FLOAT,
    }
    return plain[hint]


def _built(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: _value(name, hint) for name, hint in hints.items()})


BODIES = [
    kind
    for name, kind in vars(messages).items()
    if name.endswith(("Request", "Response")) and dataclasses.is_dataclass(kind)
]


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_body_round_trips(kind: type[Any]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(_built(kind))
    def round_trips(body: Any) -> None:
        encoded = encode_body(body)
        assert decode_body(messages.type_of(body), encoded) == body
        assert encode_body(decode_body(messages.type_of(body), encoded)) == encoded

    round_trips()


@settings(deadline=None)
@given(
    st.builds(
        Message,
        header=_built(Header),
        type=st.sampled_from(MessageType),
        body=st.binary(max_size=50),
        result_code=st.integers(-(2**31), 2**31 - 1),
        result_message=TEXT,
    )
)
def test_message_round_trips(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(MessageType))
def test_garbage_is_refused_by_name(data: bytes, type_: MessageType) -> None:
    try:
        message = decode_message(data)
    except MalformedMessage:
        message = Message(Header(id="x", receiver=ONE.public.peer_id, node_pub_key=data), type_, data)
    with contextlib.suppress(MalformedMessage):
        decode_body(type_, data)
    with pytest.raises(WireError):
        open_request(message, ONE)
    with pytest.raises(WireError):
        open_reply(dataclasses.replace(message, result_code=0), ONE, OTHER.public.peer_id)


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_seal_opens_for_both_holders_and_for_nobody_else(plain: bytes) -> None:
    sealed = seal(plain, ONE, OTHER.public)
    assert open_sealed(sealed, OTHER, ONE.public) == plain
    assert open_sealed(sealed, ONE, OTHER.public) == plain
    with pytest.raises(SealError):
        open_sealed(sealed, PrivateKey.generate(), ONE.public)


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 127), st.integers(1, 255))
def test_sealed_body_that_was_changed_never_opens(plain: bytes, where: int, flip: int) -> None:
    sealed = bytearray(seal(plain, ONE, OTHER.public))
    sealed[where % len(sealed)] ^= flip
    with pytest.raises(SealError):
        open_sealed(bytes(sealed), OTHER, ONE.public)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_is_no_seal_and_no_key(data: bytes) -> None:
    with pytest.raises(SealError):
        open_sealed(data, ONE, OTHER.public)
    for read in (PublicKey.from_protobuf, PrivateKey.from_protobuf):
        with pytest.raises(IdentityError):
            read(data)


@given(st.binary(max_size=60))
def test_base58_round_trips(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data


@given(st.text(max_size=80) | st.lists(st.sampled_from(["/", "ip4", "tcp", "p2p", "1", "::"])).map("".join))
def test_any_text_is_an_address_or_refused_by_name(text: str) -> None:
    for read in (parse, parse_peer_id):
        try:
            result: str = read(text)
        except AddressError as error:
            result = text
            told = str(error)
        else:
            told = ""
        assert result == text
        assert len(told.splitlines()) <= 1


TOKEN = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz-0123456789"), min_size=1, max_size=12).map(str.encode)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30).map(str.encode)
FRAMING = {
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"upgrade",
    b"proxy-connection",
    b"keep-alive",
    b"te",
}
HEADERS = st.lists(st.tuples(TOKEN.filter(lambda name: name not in FRAMING), VALUE), max_size=5).map(tuple)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=10)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    at = turn = 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        pieces.append(data[at : at + step])
        at, turn = at + step, turn + 1
    return pieces


@settings(deadline=None)
@given(
    st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    HEADERS,
    st.lists(st.binary(min_size=1, max_size=60), max_size=5),
    CUTS,
)
def test_chunked_response_arrives_as_it_was_sent(
    status: int, headers: tuple[tuple[bytes, bytes], ...], chunks: list[bytes], cuts: list[int]
) -> None:
    framed = (*headers, (b"transfer-encoding", b"chunked"))
    data = encode_response_head(ResponseHead(status, b"Why", framed))
    data += b"".join(map(encode_chunk, chunks)) + LAST_CHUNK
    parser = ResponseParser()
    body = b""
    for piece in _pieces(data, cuts):
        assert not parser.complete
        parser.feed(piece)
        body += parser.take_body()
    assert parser.complete
    assert parser.head == ResponseHead(status, b"Why", framed)
    assert body == b"".join(chunks)


@settings(deadline=None)
@given(TEXT, TEXT, TEXT, HEADERS, st.binary(max_size=100), CUTS)
def test_request_arrives_as_it_was_sent(
    project: str, model: str, cid: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes, cuts: list[int]
) -> None:
    target = build_model_target(b"/api", project, model, cid, b"x=1")
    framed = (*headers, (b"content-length", b"%d" % len(body)))
    data = encode_request_head(RequestHead("POST", target, framed)) + body
    parser = RequestParser()
    got = b""
    for piece in _pieces(data, cuts):
        parser.feed(piece)
        got += parser.take_body()
    assert parser.complete
    assert parser.head == RequestHead("POST", target, framed)
    assert got == body
    query = split_model_query(parser.head.target)
    assert query == (b"/api", project, model, cid, b"x=1")


@settings(deadline=None)
@given(st.binary(max_size=200), CUTS)
def test_garbage_is_no_http(data: bytes, cuts: list[int]) -> None:
    for parser in (RequestParser(), ResponseParser()):
        try:
            for piece in _pieces(data, cuts):
                parser.feed(piece)
            parser.eof()
        except WireError:
            continue
        assert parser.complete


@given(st.binary(max_size=60))
def test_any_target_is_taken_apart_or_refused_by_name(target: bytes) -> None:
    try:
        split_model_query(target)
    except MalformedFrame:
        return
    assert target.startswith(b"/")

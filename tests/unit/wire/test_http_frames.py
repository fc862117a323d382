from __future__ import annotations

import pytest

from aicn import defaults
from aicn.errors import MalformedFrame, TruncatedFrame
from aicn.wire.http_frames import (
    LAST_CHUNK,
    ModelQuery,
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

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "head", "body"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", ResponseHead(200, b"OK", ((b"content-length", b"3"),)), b"abc"),
        (OK + b"Content-Length: 0\r\n\r\n", ResponseHead(200, b"OK", ((b"content-length", b"0"),)), b""),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: t\r\n\r\n",
            ResponseHead(200, b"OK", ((b"transfer-encoding", b"chunked"),)),
            b"abc",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ResponseHead(204, b"No Content"), b""),
        (b"HTTP/1.1 304 \r\n\r\n", ResponseHead(304, b""), b""),
        (
            b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nz",
            ResponseHead(200, b"OK", ((b"content-length", b"1"),)),
            b"z",
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_response_is_parsed_however_it_is_cut(data: bytes, head: ResponseHead, body: bytes, step: int) -> None:
    parser = ResponseParser()
    got = b""
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
        got += parser.take_body()
    assert parser.complete
    parser.eof()
    assert parser.head == head
    assert got == body


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_body_without_a_length_ends_with_the_stream(start: bytes) -> None:
    parser = ResponseParser()
    parser.feed(start + b"abc")
    before = parser.complete
    parser.eof()
    assert (before, parser.complete) == (False, True)
    assert parser.take_body() == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        OK + b"Content-Length: 3\r\n",
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_response_that_is_cut_is_never_whole(data: bytes) -> None:
    parser = ResponseParser()
    parser.feed(data)
    assert not parser.complete
    with pytest.raises(TruncatedFrame):
        parser.eof()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x00\x01", id="garbage"),
        pytest.param(OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="two lengths"),
        pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two different lengths"),
        pytest.param(OK + b"Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="no chunk size"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", id="chunk longer than its size"),
        pytest.param(OK + b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", id="second message"),
        pytest.param(OK + b"A b: c\r\n\r\n", id="space in a name"),
        pytest.param(OK + b"a: b\r\n" * (defaults.HTTP_MAX_HEADERS + 2), id="too many headers"),
        pytest.param(OK + b"a: " + b"x" * defaults.HTTP_HEAD_MAX_BYTES, id="endless header"),
        pytest.param(b"HTTP/1.1 100 C\r\n\r\n" * 5_000, id="endless 100 Continue"),
        pytest.param(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="upgrade"),
    ],
)
def test_what_is_no_response_is_refused(data: bytes) -> None:
    parser = ResponseParser()
    with pytest.raises(MalformedFrame):
        for at in range(0, len(data), 4_096):
            parser.feed(data[at : at + 4_096])


@pytest.mark.parametrize("step", [1, 5, 1_000])
def test_request_is_parsed_however_it_is_cut(step: int) -> None:
    data = b"POST /x?project=P HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    parser = RequestParser()
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
    assert parser.head == RequestHead("POST", b"/x?project=P", ((b"host", b"a"), (b"content-length", b"3")))
    assert parser.take_body() == b"abc"
    assert parser.take_body() == b""
    assert parser.complete


@pytest.mark.parametrize(
    "data",
    [
        b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST /y HTTP/1.1\r\n",
        b"GARBAGE\r\n\r\n",
        b"POST /x HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        RequestParser().feed(data)


@pytest.mark.parametrize("evil", [b"a\r\nX: y", b"a\nb", b"a\0b"])
def test_nothing_can_be_smuggled_into_a_head(evil: bytes) -> None:
    with pytest.raises(MalformedFrame):
        encode_response_head(ResponseHead(200, b"", ((b"a", evil),)))
    with pytest.raises(MalformedFrame):
        encode_response_head(ResponseHead(200, b"", ((evil, b"a"),)))
    with pytest.raises(MalformedFrame):
        encode_response_head(ResponseHead(200, evil))
    with pytest.raises(MalformedFrame):
        encode_request_head(RequestHead("POST", b"/" + evil))
    with pytest.raises(MalformedFrame):
        encode_request_head(RequestHead(evil.decode(), b"/"))


@pytest.mark.parametrize("status", [0, 99, 600, -1])
def test_status_that_is_none_is_refused(status: int) -> None:
    with pytest.raises(MalformedFrame):
        encode_response_head(ResponseHead(status))


def test_encoded_bytes() -> None:
    head = RequestHead("POST", b"/a?b=c", ((b"host", b"h"),))
    assert encode_request_head(head) == b"POST /a?b=c HTTP/1.1\r\nhost: h\r\n\r\n"
    assert encode_response_head(ResponseHead(404, b"Gone")) == b"HTTP/1.1 404 Gone\r\n\r\n"
    assert encode_chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "query"),
    [
        (b"/a?project=P&model=m&cid=c", ModelQuery(b"/a", "P", "m", "c", b"")),
        (b"/a?x=1&project=P+Q&model=m%2F1&y", ModelQuery(b"/a", "P Q", "m/1", "", b"x=1&y")),
        (b"/a?model=first&model=second", ModelQuery(b"/a", "", "first", "", b"")),
        (b"/a", ModelQuery(b"/a", "", "", "", b"")),
        (b"/a?&&z=%zz", ModelQuery(b"/a", "", "", "", b"z=%zz")),
    ],
)
def test_target_is_taken_apart(target: bytes, query: ModelQuery) -> None:
    assert split_model_query(target) == query


@pytest.mark.parametrize("target", [b"", b"*", b"http://a/b", b"/a b", b"/\xff", b"/a?project=%ff"])
def test_target_that_is_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(MalformedFrame):
        split_model_query(target)


def test_target_is_built_as_go_reads_it() -> None:
    target = build_model_target(b"/api/v0/chat/completion", "P Q", "a/b&c", "", b"x=1")
    assert target == b"/api/v0/chat/completion?project=P+Q&model=a%2Fb%26c&cid=&x=1"


@pytest.mark.parametrize("step", [1_000, 65_536, 1_000_000])
@pytest.mark.parametrize("extra", [0, 1])
def test_longest_head_is_the_same_however_it_is_cut(step: int, extra: int) -> None:
    begin, end = OK + b"Content-Length: 100000\r\nX: ", b"\r\n\r\n"
    head = begin + b"a" * (defaults.HTTP_HEAD_MAX_BYTES - len(begin + end) + extra) + end
    data = head + b"b" * 100_000
    parser = ResponseParser()

    def feed() -> None:
        for at in range(0, len(data), step):
            parser.feed(data[at : at + step])

    if extra:
        with pytest.raises(MalformedFrame, match="longer than 65536 bytes"):
            feed()
        assert parser.head is None
    else:
        feed()
        assert parser.complete
        assert parser.take_body() == b"b" * 100_000


@pytest.mark.parametrize("between", [b"1;", b"1\r\na\r\n0\r\nx: "])
def test_what_stands_between_the_parts_of_a_body_has_a_limit(between: bytes) -> None:
    parser = ResponseParser()
    parser.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n" + between)
    parser.feed(b"a" * (defaults.HTTP_HEAD_MAX_BYTES - 1_000))
    with pytest.raises(MalformedFrame, match="between its parts"):
        parser.feed(b"a" * 1_001)


def test_many_small_chunks_are_not_too_much() -> None:
    parser = ResponseParser()
    parser.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(defaults.HTTP_HEAD_MAX_BYTES // 2):
        parser.feed(encode_chunk(b"a"))
    parser.feed(LAST_CHUNK)
    assert parser.complete
    assert len(parser.take_body()) == defaults.HTTP_HEAD_MAX_BYTES // 2


def test_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="not valid text"):
        build_model_target(b"/v1/chat", "\ud800", "m", "c")

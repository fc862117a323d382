"""Whom a far side may be asked for."""

from __future__ import annotations

import pytest

from aicn.errors import MalformedFrame, UsageError
from aicn.tools.proxy_access import AllowedTargets
from aicn.tools.proxy_message import Authority, authority_of, encode_error, end_to_end, parse_authority, split_absolute
from aicn.wire.http_frames import RequestHead, ResponseParser


@pytest.mark.parametrize(
    ("rules", "target", "allowed"),
    [
        ((), "127.0.0.1:8000", True),
        ((), "127.5.5.5", True),
        ((), "[::1]:80", True),
        ((), "localhost:7002", True),
        ((), "LOCALHOST.:7002", True),
        ((), "0.0.0.0", False),  # noqa: S104 - refused
        ((), "127.1", False),
        ((), "2130706433", False),
        ((), "[::ffff:127.0.0.1]", False),
        ((), "localhost.example", False),
        ((), "10.0.0.1", False),
        (("10.0.0.1",), "10.0.0.1:1", True),
        (("10.0.0.1",), "127.0.0.1:1", False),
        (("10.0.0.1:8000",), "10.0.0.1:8000", True),
        (("10.0.0.1:8000",), "10.0.0.1", False),
        (("10.0.0.1:1",), "10.0.0.1:2", False),
        (("10.0.0.1:2",), "10.0.0.1:1", False),
        (("[0:0::1]:5",), "[::1]:5", True),
        (("Model.example", "b:1"), "model.EXAMPLE:9", True),
        (("model.example",), "a.model.example", False),
        (("*",), "anything.example:1", True),
    ],
)
def test_targets(rules: tuple[str, ...], target: str, *, allowed: bool) -> None:
    assert AllowedTargets(rules).permit(parse_authority(target)) is allowed


@pytest.mark.parametrize("rule", ["", "*:80", "a b", "http://a", "a:0", "a:65536", "::1", "u@a", "a/b"])
def test_a_rule_that_is_none(rule: str) -> None:
    with pytest.raises(UsageError, match="HOST"):
        AllowedTargets((rule,))


def test_rules_are_shown() -> None:
    assert str(AllowedTargets()) == "this machine (loopback)"
    assert str(AllowedTargets(("a", "b:1", "[::1]:2", "*"))) == "a, b:1, [::1]:2, *"
    assert AllowedTargets(("*",)).everything
    assert not AllowedTargets(("a",)).everything


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://a.example", "a.example:80", b"/"),
        (b"HTTP://A:81/b?c=d&e", "a:81", b"/b?c=d&e"),
        (b"https://a/b", "a:443", b"/b"),
        (b"http://[::1]:5/", "[::1]:5", b"/"),
        (b"http://a?b", "a:80", b"/?b"),
    ],
)
def test_the_target_of_a_request_to_a_proxy(target: bytes, authority: str, path: bytes) -> None:
    found, rest = split_absolute(target)
    assert (str(found), rest) == (authority, path)


@pytest.mark.parametrize(
    ("port", "host_header", "base_url"),
    [
        (80, "a", "http://a"),
        (443, "a:443", "https://a"),
        (8080, "a:8080", "http://a:8080"),
        (4430, "a:4430", "http://a:4430"),
    ],
)
def test_how_a_server_is_named(port: int, host_header: str, base_url: str) -> None:
    authority = Authority("a", port)
    assert (authority.host_header, authority.base_url) == (host_header, base_url)
    assert parse_authority(host_header) == authority
    assert Authority("::1", 80).base_url == "http://[::1]"


@pytest.mark.parametrize("target", [b"/path", b"*", b"a:443", b"ftp://a/", b"http://u@a/", b"http:///", b"http://[a/"])
def test_a_target_that_is_not_for_a_proxy(target: bytes) -> None:
    with pytest.raises(MalformedFrame):
        split_absolute(target)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/", ()),
        (b"/", ((b"host", b"a"), (b"host", b"b"))),
        (b"/", ((b"host", b""),)),
        (b"http://a/", ((b"host", b"a"),)),
    ],
)
def test_a_request_on_a_stream_that_names_nobody(target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(MalformedFrame):
        authority_of(RequestHead("GET", target, headers))
    assert authority_of(RequestHead("GET", b"/", ((b"host", b"a:5"),))) == Authority("a", 5)


def test_headers_of_one_connection_stay_there() -> None:
    sent = (
        (b"connection", b"close, X-Once, content-length"),
        (b"x-once", b"1"),
        (b"proxy-authorization", b"secret"),
        (b"te", b"trailers"),
        (b"x-kept", b"2"),
        (b"content-length", b"3"),
    )
    assert end_to_end(sent) == ((b"x-kept", b"2"), (b"content-length", b"3"))


def test_an_error_is_an_http_answer() -> None:
    parser = ResponseParser()
    parser.feed(encode_error(502, "backend_unreachable", 'no "server"'))
    assert parser.head is not None
    assert parser.complete
    assert (parser.head.status, parser.take_body()) == (
        502,
        b'{"code":"backend_unreachable","message":"no \\"server\\""}\n',
    )
    assert encode_error(502, "a", "b", with_body=False).endswith(b"\r\n\r\n")

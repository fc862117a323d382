from __future__ import annotations

import json

import msgspec
import pytest

from aicn.wire.json_members import MEMBERS_MAX, NO_JSON, members_of, stands_once, with_text_member


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"model":"P/m","x":1}', b'{"model":"m","x":1}'),
        (b'{ "x" : 1.50 ,\n "model" :  "P/m" }', b'{ "x" : 1.50 ,\n "model" :  "m" }'),
        (b'{"x":1e400,"model":"P\\/m"}', b'{"x":1e400,"model":"m"}'),
        (b'{"model":"m","y":{"model":"other"}}', b'{"model":"m","y":{"model":"other"}}'),
        (b'{"y":{"model":"other"},"model":"P/m"}', b'{"y":{"model":"other"},"model":"m"}'),
        (b'{"mod\\u0065l":"P/m", "x": 0.10}', b'{"model":"m","x":0.10}'),
        (b'{"prompt":"\\"model\\":\\"P/m\\"","model":"P/m"}', b'{"prompt":"\\"model\\":\\"P/m\\"","model":"m"}'),
        (b'{"x":1}', b'{"x":1,"model":"m"}'),
        (b'{"model":"other","x": 1,"model":"P/m"}', b'{"model":"m","x":1}'),
        (b'{"model":"other","x": 1,"model":"m"}', b'{"model":"m","x":1}'),
        (b'{"mod\\u0065l":"other","x": 1,"model":"m"}', b'{"model":"m","x":1}'),
        (b'{"model":"P/m","x": 1,"Model":"other","y":{"MODEL":1}}', b'{"model":"m","x":1,"y":{"MODEL":1}}'),
    ],
)
def test_only_the_member_changes(body: bytes, changed: bytes) -> None:
    assert with_text_member(body, "model", "m") == changed
    assert json.loads(changed.replace(b"1e400", b"1"))["model"] == "m"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m"', b'"model"', b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        with_text_member(body, "model", "m")


@pytest.mark.parametrize(
    ("body", "once"),
    [
        (b'{"model":"m"}', True),
        (b'{"a":"\\"model\\":1","model" : "m"}', True),
        (b'{"a":"the \\"model\\"","b":["model"],"model":"m","c":"gr\\u00fc\\u00dfe"}', True),
        (b'{"model":"other","model":"m"}', False),
        (b'{"\\u006dodel":"other","model":"m"}', False),
        (b'{"\\u006Dodel":"m"}', False),
        (b'{"model":"m","Model":"other"}', False),
        (b'{"model":"m","a":{"model":"other"}}', False),
    ],
)
def test_a_member_that_may_stand_twice_is_known(body: bytes, *, once: bool) -> None:
    assert stands_once(body, "model") is once


def test_an_object_with_too_many_members_is_not_taken_apart() -> None:
    body = b"{%b}" % b",".join(b'"%d":0' % number for number in range(MEMBERS_MAX))
    assert len(members_of(body)) == MEMBERS_MAX
    with pytest.raises(msgspec.ValidationError, match="members"):
        with_text_member(body[:-1] + b',"x":0}', "model", "m")
    # Where nothing but the name's own place is needed, there may be as many as there are.
    large = b'{"model":"P/m",' + body[1:]
    assert with_text_member(large, "model", "m") == large.replace(b"P/m", b"m")


def test_what_is_nested_too_deeply_is_no_json() -> None:
    with pytest.raises(NO_JSON):
        with_text_member(b'{"model":"P/m","x":%b%b}' % (b"[" * 10_000, b"]" * 10_000), "model", "m")

from __future__ import annotations

import json

import msgspec
import pytest

from aicn.wire.json_members import with_text_member


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
    ],
)
def test_only_the_member_changes(body: bytes, changed: bytes) -> None:
    assert with_text_member(body, "model", "m") == changed
    assert json.loads(changed.replace(b"1e400", b"1"))["model"] == "m"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m"', b'"model"', b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        with_text_member(body, "model", "m")

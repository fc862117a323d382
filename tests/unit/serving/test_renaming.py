"""Requests come to a model server under the name that it knows, and are otherwise what they were."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn import defaults
from aicn.errors import MalformedFrame, Overloaded
from aicn.serving.renaming import Renamer
from aicn.wire.http_frames import Headers

JSON: Headers = ((b"content-type", b"application/json"), (b"x-other", b"1"))
FORM: Headers = ((b"content-type", b"multipart/form-data; boundary=frontier"),)

FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b'
FIELD = b'Content-Disposition: form-data; name="model"\r\n\r\n%b'
PROMPT = b'Content-Disposition: form-data; name="prompt"\r\n\r\nhello'
LONG = bytes(range(256)) * 1_000


def form(*parts: bytes) -> bytes:
    return b"".join(b"--frontier\r\n%b\r\n" % part for part in parts) + b"--frontier--\r\n"


async def arriving(body: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), step):
        yield body[at : at + step]


async def renamed(
    name: str, headers: Headers, body: bytes, step: int | None = None, *, own: str = "", form: bool = True
) -> tuple[Headers, bytes]:
    """Return headers and body as they are sent; `step`: the body comes in pieces of so many bytes."""
    renamer = Renamer()
    sized = (*headers, (b"content-length", b"%d" % len(body)))
    arrives = body if step is None else arriving(body, step)
    async with renamer.renamed(name, sized, arrives, own=own, form=form) as (sent, made):
        whole = made if isinstance(made, bytes) else b"".join([part async for part in made])
    assert renamer.held_bytes == 0
    return sent, whole


def lengths(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name == b"content-length"]


@pytest.mark.parametrize("step", [None, 1, 7, 100_000])
@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "m", "n":1.0}', b'{"model": "org/Big:8b", "n":1.0}'),
        (b'{"messages":[{"model":"m"}],"model":"m"}', None),
        (b'{"prompt":"x"}', b'{"prompt":"x","model":"org/Big:8b"}'),
        (b'{"Model":"other","model":"m"}', b'{"model":"org/Big:8b"}'),
    ],
    ids=["named", "named twice", "unnamed", "in capital letters too"],
)
async def test_json(body: bytes, sent: bytes | None, step: int | None) -> None:
    headers, made = await renamed("org/Big:8b", JSON, body, step)
    if sent is None:
        assert json.loads(made) == {**json.loads(body), "model": "org/Big:8b"}
    else:
        assert made == sent
    assert (b"x-other", b"1") in headers
    assert lengths(headers) == [], "the length is that of the changed body, which is whole"


@pytest.mark.parametrize("name", ["org/Big:8b", ""])
@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    "body",
    [b"[1, 2]", b'{"model": "m"', b"", b'{"model":"other"} {"model":"m"}', form(FIELD % b"other")],
    ids=["no object", "broken", "empty", "two", "a form that is none"],
)
async def test_broken_json_is_refused_before_somebody_reads_another_name_there(
    body: bytes, step: int | None, name: str
) -> None:
    with pytest.raises(MalformedFrame, match="not the JSON object it should be"):
        await renamed(name, FORM if body.startswith(b"--") else JSON, body, step, own="m", form=False)


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "m", "n":1.0}', None),
        (b'{"prompt": "x"}', None),
        (b'{"model": "other", "n":1.0}', b'{"model": "m", "n":1.0}'),
        (b'{"n":1.0,"Model":"other"}', b'{"n":1.0,"model":"m"}'),
        (b'{"model":"m","mod\\u0065l":"other"}', b'{"model":"m"}'),
    ],
    ids=["the same", "unnamed", "another", "in capital letters", "twice"],
)
async def test_no_other_model_is_asked_than_the_one_that_is_lent(
    body: bytes, sent: bytes | None, step: int | None
) -> None:
    assert (await renamed("", JSON, body, step, own="m", form=False))[1] == (sent or body)


@pytest.mark.parametrize("step", [None, 1, 13, 100_000])
@pytest.mark.parametrize(
    "order",
    [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)],
    ids=["model first", "file first", "model last", "model last but one"],
)
@pytest.mark.parametrize("data", [b"abc", LONG], ids=["small", "large"])
async def test_a_form(data: bytes, order: tuple[int, ...], step: int | None) -> None:
    if step == 1 and data is LONG:
        data = LONG[:80_000]

    def ordered(name: bytes) -> bytes:
        parts = (FIELD % name, FILE % data, PROMPT)
        return form(*(parts[index] for index in order))

    headers, made = await renamed("org/Big:8b", FORM, ordered(b"m"), step)
    assert made == ordered(b"org/Big:8b")
    for length in lengths(headers):
        assert int(length) == len(made)


async def test_a_form_that_arrives_names_its_length_where_its_model_comes_first() -> None:
    body = form(FIELD % b"model", FILE % LONG)
    headers, made = await renamed("x", FORM, body, 4_096)
    assert lengths(headers) == [b"%d" % len(made)]
    assert len(made) == len(body) - 4


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, form(PROMPT, FILE % b"abc")),
        (FORM, b"no form at all"),
        (FORM, b"--frontier\r\n" + b"x" * 40_000),
        (FORM, form(FIELD % (b"m" * 10_000))),
        (((b"content-type", b"multipart/form-data"),), form(FIELD % b"m")),
    ],
    ids=["no model", "no form", "endless head", "endless name", "no boundary"],
)
@pytest.mark.parametrize("step", [None, 1_000])
async def test_a_form_without_a_name_goes_on_untouched(headers: Headers, body: bytes, step: int | None) -> None:
    assert (await renamed("x", headers, body, step))[1] == body


async def test_a_form_stays_as_it_is_without_another_name() -> None:
    body = form(FIELD % b"m")
    headers, made = await renamed("", FORM, body, own="x")
    assert (made, headers) == (body, (*FORM, (b"content-length", b"%d" % len(body))))


async def test_what_is_held_has_an_end_for_one_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "JSON_BODY_MAX_BYTES", 100)
    monkeypatch.setattr(defaults, "HELD_MAX_BYTES", 150)
    renamer = Renamer()
    with pytest.raises(MalformedFrame, match="larger than 100 bytes"):
        async with renamer.renamed("x", JSON, arriving(b" " * 101, 10)):
            pytest.fail("it is too long")
    assert renamer.held_bytes == 0
    async with renamer.renamed("x", JSON, arriving(b"{}" + b" " * 88, 10)):
        assert renamer.held_bytes == 90
        with pytest.raises(Overloaded, match="holds 150 bytes"):
            async with renamer.renamed("x", JSON, arriving(b"{}" + b" " * 88, 10)):
                pytest.fail("there is no room for it")
        assert renamer.held_bytes == 90
    assert renamer.held_bytes == 0


@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=60).filter(lambda data: b"\r\n--frontier" not in b"\r\n" + data).map(lambda d: FILE % d),
            st.sampled_from([PROMPT, FIELD % b"m"]),
        ),
        max_size=6,
    ),
    step=st.integers(1, 50),
)
async def test_however_a_form_is_cut_it_is_sent_alike(parts: list[bytes], step: int) -> None:
    whole = (await renamed("longer-name", FORM, form(*parts)))[1]
    assert (await renamed("longer-name", FORM, form(*parts), step))[1] == whole
    expected = list(parts)
    if FIELD % b"m" in parts:
        expected[parts.index(FIELD % b"m")] = FIELD % b"longer-name"
    assert whole == form(*expected)

"""A form whose model is named behind a large file is kept on the disk, within bounds, and gone with its request."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from aicn.api.budget import Budget
from aicn.api.errors import ApiError
from aicn.api.form_model import OnlyModel
from aicn.api.images import _naming_only
from aicn.api.v1.forms import Spooled
from aicn.errors import MalformedFrame
from aicn.routing import StreamedBody
from aicn.wire.multipart import FieldFinder

BEGIN = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FIELD = b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nP/m'
END = b'\r\n--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n1\r\n--b--\r\n'


def body(*parts: bytes) -> StreamedBody:
    async def rest() -> AsyncGenerator[bytes]:
        for part in parts:
            yield part

    return StreamedBody(BEGIN, rest(), None)


def finder() -> FieldFinder:
    made = FieldFinder(b"b", frozenset({"model"}))
    made.feed(BEGIN)
    return made


async def test_the_form_comes_back_with_another_name_and_what_was_still_to_come() -> None:
    budget, found = Budget(1_000_000), finder()
    spooled = Spooled(body(b"x" * 5_000, b"y" * 5_000 + FIELD[:20], FIELD[20:] + END[:10], END[10:]), budget)
    await spooled.read(found)
    assert budget.held_bytes == len(BEGIN) + 10_000 + len(FIELD) + 10
    parts = [part async for part in spooled.parts(found.found["model"], b"m", OnlyModel(b"b"))]
    whole = BEGIN + b"x" * 5_000 + b"y" * 5_000 + FIELD.replace(b"P/m", b"m") + END
    assert b"".join(parts) == whole
    assert budget.held_bytes == 0


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_a_form_that_names_a_second_model_is_refused_wherever_it_does(step: int) -> None:
    rest = b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx' + FIELD + END
    behind = OnlyModel(b"b")
    with pytest.raises(ApiError) as refused:
        for start in range(0, len(rest), step):
            behind.checked(rest[start : start + step])
    assert (refused.value.status, refused.value.param) == (400, "model")


async def test_all_forms_together_have_a_limit_on_the_disk() -> None:
    budget = Budget(6_000)
    one = Spooled(body(b"x" * 5_000 + FIELD + END), budget)
    await one.read(finder())
    other = Spooled(body(b"x" * 5_000 + FIELD + END), budget)
    with pytest.raises(ApiError) as refused:
        await other.read(finder())
    assert refused.value.status == 503
    for each in (one, other, one):
        each.close()
    assert budget.held_bytes == 0


async def test_what_is_no_form_is_refused_and_leaves_nothing() -> None:
    budget = Budget(1_000_000)
    spooled = Spooled(body(b"x\r\n--b and more\r\n"), budget)
    with pytest.raises(MalformedFrame):
        await spooled.read(finder())
    spooled.close()
    assert budget.held_bytes == 0


OTHER = FIELD.replace(b"P/m", b"other")
ASKED = FIELD.replace(b"P/m", b"m")


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        (b"", True),
        (ASKED, True),
        (ASKED + ASKED, False),
        (OTHER, False),
        (ASKED + OTHER, False),
        (OTHER + ASKED, False),
    ],
)
async def test_a_form_names_no_model_but_the_one_that_is_asked_for(fields: bytes, step: int, *, passes: bool) -> None:
    form = BEGIN + b"x" * 100 + fields + END
    only = OnlyModel(b"b", "m")
    parts = [form[start : start + step] for start in range(0, len(form), step)]
    if passes:
        assert b"".join(only.checked(part) for part in parts) == form
    else:
        with pytest.raises(ApiError, match=r"names another model|more than one field") as refused:
            for part in parts:
                only.checked(part)
        assert refused.value.status == 400


def plain(boundary: bytes = b"b", form: bytes = BEGIN + b"x" + END, parameters: bytes = b"") -> bytes | StreamedBody:
    return _naming_only("m", b"multipart/form-data; " + parameters + b"boundary=" + boundary, form)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param((BEGIN + b"x" + OTHER + END).replace(b"\r\n", b"\n"), id="bare line ends"),
        pytest.param(b"--b--x\r\n" + BEGIN + b"x" + OTHER + END, id="an end that is none"),
        pytest.param(BEGIN + b"x\r\n--b--x\r\n" + OTHER + END, id="an end that is none, later"),
        pytest.param(b"before\r\n" + BEGIN + b"x" + END, id="words before it"),
        pytest.param(BEGIN + b"x" + OTHER.replace(b'"model"', b'"model"; filename=""') + END, id="a nameless file"),
        pytest.param(BEGIN + b"x" + OTHER.replace(b"\r\n\r\nother", b"\n\nother"), id="a head that never ends"),
        pytest.param(BEGIN + b"x", id="no end"),
    ],
)
def test_what_others_may_read_as_another_form_is_refused(form: bytes) -> None:
    with pytest.raises(ApiError):
        plain(form=form)


@pytest.mark.parametrize("parameters", [b'x="; boundary=A"; ', b"boundary=A; ", b"charset=utf-8; "])
def test_what_others_may_read_with_another_boundary_is_refused(parameters: bytes) -> None:
    assert plain() == BEGIN + b"x" + END
    assert plain(b'"b"') == BEGIN + b"x" + END
    with pytest.raises(ApiError):
        plain(parameters=parameters)

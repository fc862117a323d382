"""Fields are found in a form however its bytes come, and nothing of it is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn.errors import MalformedFrame
from aicn.wire.multipart import FIELD_MAX_BYTES, HEAD_MAX_BYTES, Field, FieldFinder, boundary_of

MODEL = frozenset({"model"})
FILE = (
    b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    b'\x89PNG\r\n\r\n--x\r\nname="model"\r\n\r\nno\r\n--not'
)
FIELD = b'Content-Disposition: form-data; name="model"\r\n\r\nP/painter'


def form(*parts: bytes, boundary: bytes = b"frontier") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def find(data: bytes, step: int | None = None, names: frozenset[str] = MODEL) -> FieldFinder:
    finder = FieldFinder(b"frontier", names)
    for at in range(0, len(data), step or len(data)):
        finder.feed(data[at : at + (step or len(data))])
    return finder


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("parts", [(FIELD,), (FIELD, FILE), (FILE, FIELD), (FILE, FIELD, FILE)])
def test_a_field_is_found_with_its_place(parts: tuple[bytes, ...], step: int | None) -> None:
    data = form(*parts)
    finder = find(data, step)
    assert finder.over
    field = finder.found["model"]
    assert field.value == "P/painter"
    assert data[field.begin : field.end] == b"P/painter"


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        (b'Content-Disposition: form-data; name="model"\r\n\r\n', ""),
        (b"content-disposition:form-data;name=model\r\n\r\nm", "m"),
        (
            b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xc3\xa9',
            "é",
        ),
        (b'Content-Disposition: form-data; name="model"\r\n\r\na\r\nb', "a\r\nb"),
    ],
    ids=["empty", "bare", "other headers first", "line ends"],
)
def test_ways_to_write_a_field(part: bytes, value: str, step: int | None) -> None:
    assert find(form(part), step).found["model"].value == value


@pytest.mark.parametrize(
    "data",
    [
        form(FILE),
        form(b'Content-Disposition: form-data; name="model"; filename="model"\r\n\r\nm'),
        form(b'Content-Disposition: attachment; name="model"\r\n\r\nm'),
        form(b'Content-Disposition: form-data; name="models"\r\n\r\nm'),
        form(b"\r\nm"),
        form(FIELD, boundary=b"border").replace(b"--border--", b"--frontier--"),
    ],
    ids=["no field", "a file of that name", "no form data", "another name", "no headers", "another boundary"],
)
def test_what_is_no_such_field(data: bytes) -> None:
    finder = find(data)
    assert finder.found == {}


def test_a_header_in_two_lines_names_a_field() -> None:
    assert find(form(b'Content-Disposition: form-data;\r\n\tname="model"\r\n\r\nm')).found["model"].value == "m"


def test_of_two_the_first_counts_and_several_are_found() -> None:
    stream = b'Content-Disposition: form-data; name="stream"\r\n\r\ntrue'
    data = form(FIELD, FIELD.replace(b"painter", b"other"), stream)
    found = find(data, names=frozenset({"model", "stream"})).found
    assert {name: field.value for name, field in found.items()} == {"model": "P/painter", "stream": "true"}


def test_nothing_is_read_behind_what_is_looked_for() -> None:
    finder = find(form(FIELD))
    finder.feed(b"anything" * 1_000_000)
    assert finder.found == {"model": Field("P/painter", 60, 69)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (form(FIELD + b"x" * FIELD_MAX_BYTES), "the field 'model' of the form is longer than 4096 bytes"),
        (b"--frontier\r\n" + b"x" * (HEAD_MAX_BYTES + 10), "more than 16384 bytes of headers"),
        (b"--frontier" + b" " * (HEAD_MAX_BYTES + 10), "its delimiter does not end"),
        (b"--frontier bytes\r\n", "something stands behind its delimiter"),
        (form(*[b"\r\nm"] * 1_001), "more than 1000 parts"),
        (form(FIELD.replace(b"painter", b"\xff")), "the field 'model' of the form is not UTF-8"),
    ],
)
@pytest.mark.parametrize("step", [None, 50])
def test_what_is_beyond_bounds_is_refused(data: bytes, words: str, step: int | None) -> None:
    with pytest.raises(MalformedFrame, match=words):
        find(data, step)


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="model"',
        b"Content-Disposition: form-data; name*=utf-8''model",
        b"Content-Disposition: form-data; name=\"x\"; name*=utf-8''model",
    ],
)
def test_a_name_that_programs_read_in_different_ways_is_refused(head: bytes, step: int | None) -> None:
    with pytest.raises(MalformedFrame, match="clearly"):
        find(form(head + b"\r\n\r\nm"), step)


def test_a_large_file_is_not_held() -> None:
    finder = FieldFinder(b"frontier", MODEL)
    finder.feed(b"--frontier\r\n" + FILE)
    for _ in range(1_000):
        finder.feed(b"\r\n--front" * 1_000)
        assert len(finder._held) < 32


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; Boundary="a b"', b"a b"),
        (b"multipart/form-data;boundary=abc;x=y", b"abc"),
    ],
)
def test_boundary(header: bytes, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header",
    [b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary=", b"text/x; boundary=a"],
)
def test_no_form(header: bytes) -> None:
    with pytest.raises(MalformedFrame, match="send it as multipart/form-data"):
        boundary_of(header)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_read_or_refused_and_little_is_held(data: bytes, step: int) -> None:
    finder = FieldFinder(b"b", MODEL)
    try:
        for at in range(0, len(data), step):
            finder.feed(b"--b\r\n" + data[at : at + step])
    except MalformedFrame:
        return
    assert len(finder._held) <= len(data) + 5 * len(data) + 5

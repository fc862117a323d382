from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
        ("1h30m", 5_400.0),
        ("1.5h", 5_400.0),
        ("500ms", 0.5),
        ("180s", 180.0),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("2\u03bcs", 2e-6),
        ("7ns", 7e-9),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("+3s", 3.0),
        ("-1m1s", -61.0),
        ("1s1s", 2.0),
    ],
)
def test_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "1",
        "1 s",
        "1S",
        "1d",
        "+",
        "-",
        ".s",
        "1..5s",
        "--1s",
        "1s-1s",
        "\u0661s",
        "300000000h",
        "1s\n",
        "9" * 90 + "s",
    ],
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|292 years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.000_284_017, "284.017µs"),
        (7e-9, "7ns"),
        (0.0025, "2.5ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.999_999_999, "59.999999999s"),
        (60.0, "1m0s"),
        (5_400.0, "1h30m0s"),
        (3_600.001, "1h0m0.001s"),
        (-61.0, "-1m1s"),
    ],
)
def test_what_go_prints(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_what_is_printed_is_read_back(nanoseconds: int) -> None:
    text = format_duration(nanoseconds / 1e9)
    assert round(parse_duration(text) * 1e9) == nanoseconds


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_duration(text), float)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either way is right

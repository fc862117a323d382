from __future__ import annotations

import time

import pytest

from aicn.cli.times import moment_unix_s
from aicn.errors import UsageError


@pytest.mark.parametrize(
    ("text", "moment_s"),
    [("2026-11-23T17:30:00Z", 1_795_455_000), ("2026-11-23T18:30:00+01:00", 1_795_455_000), ("1970-01-01T00:00Z", 0)],
)
def test_a_date_and_time_is_a_moment(text: str, moment_s: int) -> None:
    assert moment_unix_s(text) == moment_s


def test_a_duration_leads_back_or_ahead() -> None:
    now_s = time.time()
    assert moment_unix_s("24h") <= now_s - 86_399 < moment_unix_s("90m")
    assert moment_unix_s("24h", ahead=True) >= now_s + 86_400


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "99999999h", "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"]
)
def test_what_is_no_moment_of_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; write 24h"):
        moment_unix_s(text)

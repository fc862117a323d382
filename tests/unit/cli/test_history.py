from __future__ import annotations

import csv
import io

import pytest

from aicn.cli.history import _csv_writer
from aicn.store import Entry, Kept

PLAIN = Entry(0, "input", "chat", "P", "m", "", "127.0.0.1", "", 1, "ok", 200, None, 1.5, None, 2, None, 3)


@pytest.mark.parametrize("words", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_no_words_of_a_stranger_become_a_formula_of_a_spreadsheet(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = PLAIN._replace(project=words, model=words, caller=words, request_id=words)
    _csv_writer()([Kept(7, entry, words)])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert {row[name] for name in ("project", "model", "caller", "request_id", "prompt")} == {f"'{words}"}
    assert (row["id"], row["outcome"], row["total_ms"]) == ("7", "ok", "1.5")


def test_what_is_not_known_is_an_empty_cell(capsys: pytest.CaptureFixture[str]) -> None:
    _csv_writer()([Kept(1, PLAIN, None)])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert (row["prompt"], row["first_byte_ms"], row["model"]) == ("", "", "m")
    assert None not in row

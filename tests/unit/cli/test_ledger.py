from __future__ import annotations

import csv
import io

import pytest

from aicn.cli.ledger import _csv
from aicn.store import Sums
from aicn.store.ledger_reader import LedgerRow


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
)
def test_no_name_becomes_a_formula_of_a_spreadsheet(name: str) -> None:
    row = LedgerRow("2026-11-23", name, name, name, name, name, Sums(1, 0, 2, 3, 0))
    head, cells = csv.reader(io.StringIO(_csv([row]), newline=""))
    assert cells == ["2026-11-23", *[f"'{name}"] * 5, "1", "0", "2", "3", "0"]
    assert head[-1] == "images"


def test_names_of_models_stay_as_they_are() -> None:
    row = LedgerRow("2026-11-23", "key_1", "Ann, Bob", "P", 'a/"b"', "n", Sums())
    _, cells = csv.reader(io.StringIO(_csv([row])))
    assert cells[1:6] == ["key_1", "Ann, Bob", "P", 'a/"b"', "n"]

"""Comma-separated values that a spreadsheet shows as they are: names and words in them come from strangers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a spreadsheet take a text for a formula."""


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    """Return `rows` as lines; a text that would be a formula begins with an apostrophe."""
    lines = io.StringIO()
    # Texts are all quoted: some readers begin a new cell at what the writer takes for a part of one.
    writer = csv.writer(lines, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return lines.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell

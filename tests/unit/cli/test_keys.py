"""`aicn keys`: a list that changes nothing, and no key whose secret nobody has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from aicn.cli.main import run_words
from aicn.store.database import FILE_NAME


def test_a_list_neither_begins_a_database_nor_puts_one_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_words(["keys", "list", str(tmp_path)]) == 1
    assert "there is no datastore at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    assert run_words(["keys", "list", str(tmp_path)]) == 1
    assert "is damaged or no datastore" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]

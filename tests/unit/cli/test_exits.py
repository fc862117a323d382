from __future__ import annotations

import inspect
from pathlib import Path

import click
import pytest

from aicn import errors, telemetry
from aicn.cli import exits
from aicn.errors import AicnError, ConfigError, ListenFailed, UsageError

CLASSES = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, AicnError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_of_the_tree_has_a_status_and_one_line(
    kind: type[AicnError], capsys: pytest.CaptureFixture[str]
) -> None:
    status = exits.report(kind("what,\nwhere\x1b[31m, what to do"))
    assert status == (exits.USAGE if issubclass(kind, UsageError) else exits.FAILED)
    assert capsys.readouterr().err == "aicn: what, where [31m, what to do\n"


def test_an_unforeseen_error_is_a_bug_and_says_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.report(KeyError("x")) == exits.BUG
    told = capsys.readouterr().err
    assert told == "aicn: unexpected error: KeyError: 'x'; set AICN_DEBUG=1 to see where, please report it\n"


def test_the_traceback_of_an_unforeseen_error_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, BaseException | None]] = []

    def write(message: str, error: BaseException | None = None) -> Path:
        told.append((message, error))
        return tmp_path / "host.log"

    monkeypatch.setattr(telemetry, "write_to_file", write)
    bug = KeyError("x")
    exits.report(bug)
    exits.report(ConfigError("no"))
    exits.report(UsageError("what?"))
    assert told == [("KeyError: 'x'", bug), ("no", None)]
    assert f"the log {tmp_path / 'host.log'} has the details" in capsys.readouterr().err


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICN_DEBUG", "1")
    exits.report(ListenFailed("taken"))
    told = capsys.readouterr().err
    assert told == "aicn.errors.ListenFailed: taken\naicn: taken\n"


def test_of_several_errors_the_foreseen_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    several = ExceptionGroup("tasks", [KeyError("x"), ExceptionGroup("more", [ListenFailed("taken")])])
    assert exits.report(several) == exits.FAILED
    assert exits.report(ExceptionGroup("tasks", [KeyError("x")])) == exits.BUG
    assert capsys.readouterr().err.splitlines()[0] == "aicn: taken"


def test_what_click_refuses_points_to_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(click.Command("run"), info_name="run", parent=click.Context(click.Command("aicn")))
    context.parent.info_name = "aicn"  # type: ignore[union-attr]
    assert exits.report(click.NoSuchOption("--frob", ctx=context)) == exits.USAGE
    assert capsys.readouterr().err == "aicn: no such option '--frob'; see `aicn run --help`\n"

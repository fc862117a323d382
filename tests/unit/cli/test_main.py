from __future__ import annotations

import click
import pytest

from aicn.cli import exits
from aicn.cli.lazy import LazyCommands, LazyGroup
from aicn.cli.main import cli, run_words
from aicn.errors import ConfigError


def test_every_command_is_there_and_its_line_of_help_is_short() -> None:
    context = click.Context(cli)
    assert isinstance(cli, LazyGroup)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert [len(line) for line in cli._lines.values() if len(line) > 90] == []
    assert set(cli._lines) == set(cli.commands)


def test_commands_are_a_mapping_like_any_other() -> None:
    commands = LazyCommands({"version": "aicn.cli.version:version", "wrong": "aicn.cli.exits:OK"})
    assert list(commands) == ["version", "wrong"]
    assert commands["version"] is commands["version"]
    with pytest.raises(TypeError, match=r"aicn\.cli\.exits:OK is no command"):
        commands["wrong"]
    del commands["wrong"]
    commands["more"] = click.Command("more")
    assert len(commands) == 2
    assert commands["more"].name == "more"
    assert commands.get("nothing") is None


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (KeyboardInterrupt(), exits.INTERRUPTED),
        (click.Abort(), exits.INTERRUPTED),
        (ConfigError("no"), exits.FAILED),
        (RuntimeError("bug"), exits.BUG),
        (click.exceptions.Exit(7), 7),
    ],
)
def test_whatever_leaves_a_command_becomes_a_status(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setitem(cli.commands, "fail", click.Command("fail", callback=fail))
    assert run_words(["fail"]) == status


def test_what_a_command_returns_is_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.commands, "three", click.Command("three", callback=lambda: 3))
    monkeypatch.setitem(cli.commands, "none", click.Command("none", callback=lambda: None))
    assert run_words(["three"]) == 3
    assert run_words(["none"]) == exits.OK

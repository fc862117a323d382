from __future__ import annotations

import pytest

from aicn.cli.host import Flags, parse_flags
from aicn.errors import UsageError


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("", Flags()),
        ("-config a.json", Flags(config="a.json")),
        ("--config a.json", Flags(config="a.json")),
        ("-config=a.json", Flags(config="a.json")),
        ("--config=a=b", Flags(config="a=b")),
        ("-config=", Flags()),
        ("-config -psk", Flags(config="-psk")),
        ("-init input", Flags(init="input")),
        ("-init worker -init input", Flags(init="input")),
        ("-peerkey k -psk", Flags(peerkey="k", psk=True)),
        ("-psk=false", Flags()),
        ("-psk=T", Flags(psk=True)),
        ("-version", Flags(version=True)),
        ("-h", Flags(help=True)),
        ("--help", Flags(help=True)),
    ],
)
def test_flags_are_read_as_go_reads_them(line: str, flags: Flags) -> None:
    assert parse_flags(line.split()) == flags


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-conf a", "flag provided but not defined: -conf"),
        ("---config a", "flag provided but not defined: --config"),
        ("-config", "flag needs an argument: -config"),
        ("-psk=maybe", "invalid boolean value 'maybe' for -psk"),
        ("-psk=", "invalid boolean value '' for -psk"),
        ("-=x", "flag provided but not defined: -;"),
        ("a.json", "'a.json' is no flag"),
        ("-psk a.json", "'a.json' is no flag"),
        ("-", "'-' is no flag"),
        ("-- -psk", "'--' is no flag"),
    ],
)
def test_what_cannot_be_read_is_named(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_flags(line.split())

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from aicn import defaults
from aicn.errors import ConfigError
from aicn.identity import PrivateKey
from aicn.telemetry import setup, write_to_file
from aicn.telemetry.log import _FileHandler, _StreamHandler

LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>[A-Z]+) (?P<name>[\w.]+) (?P<text>.*)")

log = logging.getLogger("aicn.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the logging of the test run as it was."""
    root, ours = logging.getLogger(), logging.getLogger("aicn")
    levels = root.level, ours.level
    yield
    for handler in [one for one in root.handlers if isinstance(one, _StreamHandler | _FileHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(capture=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "host.log"


def texts(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [found["text"] for found in map(LINE.fullmatch, lines) if found is not None]


def test_a_line_has_utc_time_level_and_name(file: Path) -> None:
    setup("info", "file", str(file))
    before = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    log.warning("dialled %s in %d ms", "a peer", 7)
    (line,) = file.read_text(encoding="utf-8").splitlines()
    found = LINE.fullmatch(line)
    assert found is not None
    assert found["time"] >= before
    assert (found["level"], found["name"], found["text"]) == ("WARN", "aicn.test", "dialled a peer in 7 ms")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warn", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("panic", ["critical"]),
        ("fatal", ["critical"]),
    ],
)
def test_levels(file: Path, level: str, shown: list[str]) -> None:
    setup(level, "file", str(file))
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)(name)
    assert texts(file) == shown


def test_libraries_are_heard_from_warnings_up(file: Path) -> None:
    setup("debug", "file", str(file))
    logging.getLogger("aiohttp.client").debug("a prompt")
    logging.getLogger("aiohttp.client").info("a prompt")
    logging.getLogger("asyncio").warning("slow")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = texts(file)
    assert first == "slow"
    assert "DeprecationWarning: old" in second


def test_whatever_a_peer_sends_stays_in_one_line(file: Path) -> None:
    setup("info", "file", str(file))
    log.info("agent %s", "a\nb\r\n\x1b[31mred\x00\u2028\x85\ttab é \ud800")
    try:
        raise ValueError("first\nsecond")  # noqa: TRY301
    except ValueError:
        log.exception("broke")
    first, second = file.read_text(encoding="utf-8").split("\n")[:2]
    assert first.endswith(r"agent a\nb\r\n\x1b[31mred\x00\x2028\x85" + "\ttab é \\ud800")
    assert r"broke\nTraceback" in second
    assert r"ValueError: first\nsecond" in second


def test_a_line_is_bounded(file: Path) -> None:
    setup("info", "file", str(file))
    log.info("%s", "x" * 1_000_000)
    (text,) = texts(file)
    assert len(text) == defaults.LOG_LINE_MAX_CHARS + 1
    assert text.endswith("x…")


@pytest.mark.parametrize("secret", [PrivateKey.generate().base64, "sk-aicn-" + "a1_-" * 8])
@pytest.mark.parametrize("padding", [0, defaults.LOG_LINE_MAX_CHARS - 20])
def test_a_secret_that_slipped_in_is_hidden(file: Path, secret: str, padding: int) -> None:
    setup("info", "file", str(file))
    log.info("%s%s", "x" * padding, secret)
    log.error("public %s", PrivateKey.generate().public.base64)
    content = file.read_text(encoding="utf-8")
    assert secret[:14] not in content
    assert "[hid" in content
    assert "public CAISI" in content


def test_all_outputs(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    setup("info", "stdout+stderr+file", str(file))
    log.info("hello")
    out, err = capfd.readouterr()
    assert out == err == file.read_text(encoding="utf-8")
    assert out.endswith("Z INFO aicn.test hello\n")


def test_setting_up_again_replaces_what_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    setup("debug", "stderr+file", str(tmp_path / "one"))
    setup("info", "file+file", str(tmp_path / "two"))
    log.info("hello")
    assert capfd.readouterr().err == ""
    assert (tmp_path / "one").read_text(encoding="utf-8") == ""
    assert texts(tmp_path / "two") == ["hello"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_the_file_is_the_owners_only_and_goes_on_after_a_restart(file: Path) -> None:
    setup("info", "file", str(file))
    log.info("one")
    setup("info", "file", str(file))
    log.info("two")
    assert file.stat().st_mode & 0o777 == 0o600
    assert texts(file) == ["one", "two"]


def test_a_large_file_is_put_aside(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "LOG_FILE_MAX_BYTES", 1_000)
    setup("info", "file", str(file))
    for n in range(200):
        log.info("line %d", n)
    names = sorted(one.name for one in file.parent.iterdir())
    assert names == ["host.log", "host.log.1", "host.log.2", "host.log.3"]
    assert all(one.stat().st_size <= 1_000 for one in file.parent.iterdir())
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in file.parent.iterdir())
    assert texts(file)[-1] == "line 199"


@pytest.mark.parametrize(
    ("level", "output", "name", "words"),
    [
        ("loud", "stderr", "", r"App\.LogLevel 'loud' is unknown"),
        ("info", "stderr+syslog", "", r"App\.LogOutput 'syslog' is unknown"),
        ("info", "file", "no/such/folder/x.log", r"log file .*x\.log cannot be written \(No such file.*change App"),
        ("info", "file", "", r"cannot be written"),
        ("info", "file", "a\0b", r"cannot be written"),
    ],
)
def test_what_cannot_be_set_up(tmp_path: Path, level: str, output: str, name: str, words: str) -> None:
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(ConfigError, match=words):
        setup(level, output, str(tmp_path / name))
    assert logging.getLogger().handlers == handlers


def test_a_failure_goes_to_the_file_alone(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert write_to_file("nowhere to go") is None
    setup("error", "stderr+file", str(file))
    assert write_to_file("port taken") == file
    assert write_to_file("bug", ValueError("x")) == file
    assert capfd.readouterr().err == ""
    first, second = texts(file)
    assert first == "port taken"
    assert second == r"bug\nValueError: x"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot look whether a pipe takes more")
def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    handler = _StreamHandler(writer)
    record = logging.LogRecord("aicn.test", logging.INFO, "", 0, "x" * 3_000, None, None)
    try:
        started_s = time.monotonic()
        for _ in range(1_000):
            handler.handle(record)
        assert time.monotonic() - started_s < 20 * defaults.LOG_WAIT_S
        held = os.read(reader, 1_000_000)
        assert 0 < held.count(b"x" * 3_000) < 100
        handler.handle(record)
        lines = os.read(reader, 1_000_000).decode()
        dropped = re.search(r"nobody read in time: (\d+)", lines)
        assert dropped is not None
        assert int(dropped[1]) + held.count(b"x" * 3_000) == 1_000
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_whose_reader_is_gone_is_given_up() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler = _StreamHandler(writer)
    record = logging.LogRecord("aicn.test", logging.INFO, "", 0, "x", None, None)
    try:
        handler.handle(record)
        handler.handle(record)
    finally:
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    setup("info", "file", "/dev/full")
    log.info("lost")
    log.info("lost too")
    for handler in [one for one in logging.getLogger().handlers if isinstance(one, _FileHandler)]:
        logging.getLogger().removeHandler(handler)
        with pytest.raises(OSError, match="No space"):
            handler.close()
    assert capfd.readouterr().err == ""

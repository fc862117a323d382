"""The log: one line per record, in UTC, to standard output, standard error and a file.

Records are written where they are made, on the event loop, without a queue and a thread in between: a line to a
file costs some ten microseconds, and none is lost when the process ends. The one thing that can block for long is
a terminal or pipe that nobody reads; such a line is dropped after a short wait, and counted.

Nothing secret belongs in a log. Should a private key or an API key get into a message by mistake, it is hidden.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import time
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Final

from aicn import defaults
from aicn.errors import ConfigError

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    # The reference ends itself after a line of these two; nothing here does, so both mean the gravest lines only.
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_OTHERS_LEVEL: Final = logging.WARNING
"""Least level of lines from libraries, whose debug lines may hold what users sent."""

_ESCAPED: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end a line or drive a terminal."""

_SECRETS: Final = re.compile(
    r"CAISI[A-P][A-Za-z0-9+/]{42}"  # a private key in libp2p's encoding, base64
    r"|sk-aicn-[A-Za-z0-9_-]+"  # an API key
)
_ATOMIC_BYTES: Final = 4_096
"""Smallest PIPE_BUF in use: a pipe that says it is writable takes as many bytes without blocking."""

_PROGRAM: Final = "aicn"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _LineFormatter(logging.Formatter):
    """`2026-11-23T14:05:44.123Z INFO aicn.node message`, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{self.formatStack(record.stack_info)}"
        # Cut before the expensive part; a secret cut in half by it is not hidden, so look a little further.
        text = _SECRETS.sub("[hidden]", text[: defaults.LOG_LINE_MAX_CHARS + 64])
        if len(text) > defaults.LOG_LINE_MAX_CHARS:
            text = f"{text[: defaults.LOG_LINE_MAX_CHARS]}…"
        text = _ESCAPED.sub(_escape, text)
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return f"{second}.{int(record.msecs):03d}Z {level} {record.name} {text}"


class _StreamHandler(logging.Handler):
    """Writes to standard output or error, and rather drops a line than waits for somebody to read."""

    def __init__(self, descriptor: int) -> None:
        """Write to an open file descriptor, which stays open."""
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0
        self._gone = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or drop it."""
        if self._gone:
            return
        line = self.format(record)
        # Who did not read for the last line gets no second wait; else every line would cost one.
        if not self._writable(0.0 if self._dropped else defaults.LOG_WAIT_S):
            self._dropped += 1
            return
        if self._dropped:
            line = f"{line} (lines before this one that nobody read in time: {self._dropped})"
            self._dropped = 0
        self._write(f"{line}\n".encode(errors="backslashreplace"))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view[:_ATOMIC_BYTES]) :]
                if view and not self._writable(defaults.LOG_WAIT_S):
                    self._dropped += 1
                    return
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            # The reader is gone for good. There is nobody to tell.
            self._gone = True

    def _writable(self, wait_s: float) -> bool:
        if sys.platform == "win32":  # select knows only sockets there
            return True
        try:
            return bool(select.select((), (self._descriptor,), (), wait_s)[1])
        except (OSError, ValueError):  # closed, or a number beyond what select takes: let write decide
            return True


class _FileHandler(RotatingFileHandler):
    """The log file: readable by its owner only, put aside when it is large."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose the line when the disk is full: the program goes on, and standard error belongs to others."""


def setup(level: str, output: str, file: str) -> None:
    """Send the log where the configuration says. Calling it again replaces what was set up before.

    Args:
        level: least level of our own lines: debug, info, warn, error, panic or fatal.
        output: stdout, stderr and file, joined by `+`.
        file: path of the log file, for `file`.

    Raises:
        ConfigError: the level or an output is unknown, or the file cannot be written.
    """
    if level not in _LEVELS:
        raise ConfigError(f"App.LogLevel {level!r} is unknown; use one of {', '.join(_LEVELS)}")
    handlers = [_handler(one, file) for one in dict.fromkeys(output.split("+"))]
    formatter = _LineFormatter()
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _StreamHandler | _FileHandler)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(max(_OTHERS_LEVEL, _LEVELS[level]))
    logging.getLogger(_PROGRAM).setLevel(_LEVELS[level])
    logging.captureWarnings(capture=True)


def write_to_file(message: str, error: BaseException | None = None) -> Path | None:
    """Write one grave line to the log file only, for an error that standard error is told in other words.

    Args:
        message: what happened.
        error: written with its traceback, if given.

    Returns:
        The log file, or None if the log goes to no file.
    """
    exc_info: ExcInfo | None = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(f"{_PROGRAM}.cli", logging.CRITICAL, "", 0, message, None, exc_info)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _FileHandler):
            handler.handle(record)
            return Path(handler.baseFilename)
    return None


def _handler(output: str, file: str) -> logging.Handler:
    if output == "stdout":
        return _StreamHandler(1)
    if output == "stderr":
        return _StreamHandler(2)
    if output != "file":
        raise ConfigError(f"App.LogOutput {output!r} is unknown; join some of stdout, stderr, file with +")
    try:
        return _FileHandler(file, maxBytes=defaults.LOG_FILE_MAX_BYTES, backupCount=defaults.LOG_FILES_KEPT)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"the log file {file} cannot be written ({reason}); change App.LogFile, or make its folder"
        ) from error


def _escape(found: re.Match[str]) -> str:
    return {"\n": "\\n", "\r": "\\r"}.get(found[0]) or f"\\x{ord(found[0]):02x}"

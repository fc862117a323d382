"""The one table from exception to exit status, and the one line that tells people."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Final

import click

from aicn.errors import AicnError, UsageError

OK: Final = 0
FAILED: Final = 1
"""Something that was asked for could not be done, or nobody read to the end what it printed."""
USAGE: Final = 2
"""The command line was not understood."""
BUG: Final = 70
"""An error that nobody foresaw; EX_SOFTWARE of BSD's sysexits."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C before it was done, as shells report it: 128 + SIGINT."""

DEBUG_VARIABLE: Final = "AICN_DEBUG"
"""Set to 1 to see tracebacks on standard error."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def report(error: Exception, *, prefix: str = "aicn: ") -> int:
    """Say in one line on standard error what went wrong, and in the log file if there is one.

    Args:
        error: what ended the command.
        prefix: begins the line.

    Returns:
        The exit status for it.
    """
    error = _told(error)
    sentence, status = _sentence_and_status(error)
    # Loaded here: what goes well needs no log.
    from aicn.telemetry import write_to_file  # noqa: PLC0415

    log = None if status == USAGE else write_to_file(sentence, error if status == BUG else None)
    if status == BUG:
        where = f"the log {log} has the details" if log else f"set {DEBUG_VARIABLE}=1 to see where"
        sentence = f"unexpected error: {sentence}; {where}, please report it"
    # Where nobody listens any more, the status says enough.
    with contextlib.suppress(OSError):
        if os.environ.get(DEBUG_VARIABLE) == "1":
            traceback.print_exception(error)
        click.echo(f"{prefix}{_CONTROL.sub(' ', sentence)}", err=True)
    return status


def drop_output() -> None:
    """Let what is still to be written go nowhere, once nobody reads it: Python would complain at its end."""
    if sys.stdout is None:  # closed from the start: nothing is to be written
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no Path is involved
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _sentence_and_status(error: Exception) -> tuple[str, int]:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "aicn"
        message = error.format_message().rstrip(".")
        return f"{message[:1].lower()}{message[1:]}; see `{command} --help`", USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), FAILED
    if isinstance(error, UsageError):
        return str(error), USAGE
    if isinstance(error, AicnError):
        return str(error), FAILED
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        drop_output()
        return f"what was done could not be told on the standard output ({error.strerror})", FAILED
    return f"{type(error).__name__}: {error}", BUG


def _told(error: Exception) -> Exception:
    """Return what to tell of an error that several tasks raised together: one that we foresaw, if there is one."""
    leaves = list(_leaves(error))
    return next((each for each in leaves if isinstance(each, AicnError)), leaves[0])


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

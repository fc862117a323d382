"""Where releases come from: a folder, or a web server. Everything read is bounded in size and time."""

from __future__ import annotations

import hashlib
import io
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from aicn import defaults
from aicn.errors import ReleaseRefused, UpgradeError

_CHUNK_BYTES: Final = 262_144
"""Read at once."""


class Source:
    """Reads files of a source by name. Blocks the calling thread."""

    def __init__(self, text: str, *, timeout_s: float = defaults.UPGRADE_DOWNLOAD_TIMEOUT_S) -> None:
        """Read from `text`, a folder or URL that the configuration's checks have passed.

        Args:
            text: `AICN.Upgrade.Source`.
            timeout_s: longest time for one file.
        """
        self._text = text
        self._timeout_s = timeout_s

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a small file.

        Raises:
            UpgradeError: it is not there or cannot be read in time.
            ReleaseRefused: it is larger than `max_bytes`.
        """
        buffer = io.BytesIO()
        self._copy(name, buffer, max_bytes)
        return buffer.getvalue()

    def download(self, name: str, to: Path, size_bytes: int, sha256: str) -> None:
        """Write a file to `to`, which holds all of it, verified, when this returns; otherwise it is nothing to use.

        Raises:
            UpgradeError: it is not there, cannot be read in time or cannot be written.
            ReleaseRefused: it is not the file that the manifest speaks of.
        """
        try:
            with to.open("wb") as out:
                copied, digest = self._copy(name, out, size_bytes)
        except OSError as error:
            raise UpgradeError(f"{to} cannot be written ({error.strerror}); is the disk full?") from error
        if (copied, digest) != (size_bytes, sha256):
            raise ReleaseRefused(
                f"{name} is not the file that the signed manifest speaks of (SHA-256 {digest}); "
                "it is thrown away. Tell the publisher if this happens again"
            )

    def _copy(self, name: str, out: IO[bytes], max_bytes: int) -> tuple[int, str]:
        """Copy a file and return its length and SHA-256."""
        deadline_s = time.monotonic() + self._timeout_s
        digest = hashlib.sha256()
        copied = 0
        with self._open(name) as file:
            while chunk := self._read_chunk(file, name):
                copied += len(chunk)
                if copied > max_bytes:
                    raise ReleaseRefused(f"{name} is larger than the {max_bytes} bytes that it may have")
                if time.monotonic() > deadline_s:
                    raise UpgradeError(f"{name} was not there after {self._timeout_s:g} s; it is tried again later")
                digest.update(chunk)
                out.write(chunk)
        return copied, digest.hexdigest()

    def _read_chunk(self, file: BinaryIO, name: str) -> bytes:
        try:
            return file.read(_CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise UpgradeError(f"{name} broke off at {self._text} ({str(error) or type(error).__name__})") from error

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        where = f"{name} at {self._text}"
        try:
            file: Any = self._path(name).open("rb") if self._is_folder else self._fetch(name)
        except urllib.error.HTTPError as error:
            error.close()
            raise UpgradeError(f"the server has no {where}: it answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise UpgradeError(f"{where} cannot be reached ({error.reason})") from error
        except (OSError, HTTPException) as error:
            raise UpgradeError(f"{where} cannot be read ({str(error) or type(error).__name__})") from error
        with file:
            yield file

    @property
    def _is_folder(self) -> bool:
        return "://" not in self._text or self._text.startswith("file://")

    def _path(self, name: str) -> Path:
        if self._text.startswith("file://"):
            return Path(urllib.request.url2pathname(urllib.parse.urlsplit(self._text).path)) / name
        return Path(self._text).expanduser() / name

    def _fetch(self, name: str) -> Any:
        url = f"{self._text.rstrip('/')}/{urllib.parse.quote(name)}"
        handlers: list[urllib.request.BaseHandler] = [_SameHost()]
        if url.startswith("http:"):
            handlers.append(urllib.request.ProxyHandler({}))  # this machine is not behind a proxy
        request = urllib.request.Request(url, headers={"User-Agent": "aicn", "Cache-Control": "no-cache"})  # noqa: S310
        return urllib.request.build_opener(*handlers).open(request, timeout=defaults.UPGRADE_SILENCE_TIMEOUT_S)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects inside one host and port, and none to another: that one was never configured."""

    max_redirections = 3

    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        """Refuse what urllib would follow; the last of `answer` is where to."""
        newurl = answer[-1]
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.URLError(f"it leads on to {new.netloc or newurl!r}, which is not followed")
        return super().redirect_request(req, *answer)

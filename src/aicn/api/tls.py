"""The certificate of the HTTP listeners, read again when its files change: certificates are renewed while nodes run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aicn import defaults
from aicn.errors import ConfigError

_log = logging.getLogger("aicn.api")

_Stamp = tuple[int, int, int, int]
"""What changes when a file is written, replaced or given other rights: time, size, number, time of its state."""

_NONE: Final = (0, 0, 0, 0)


class TlsFiles:
    """A certificate and its key.

    Attributes:
        context: for the listeners; new connections get what was read last.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both.

        Args:
            certificate: PEM file with the certificate and its chain.
            key: PEM file with its private key, without a password.

        Raises:
            ConfigError: one of them cannot be read, or they do not belong together.
        """
        self._certificate = certificate
        self._key = key
        self._stamps = self._stamped()
        try:
            self.context = self._read()
            self._ends = self._end()
        except OSError as error:
            raise ConfigError(self._wrong(error)) from error
        self._is_end_told = False
        self._tell_end()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return. Idempotent."""
        self._stop.set()

    async def run(self) -> None:
        """Look for changes, until `stop`."""
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(defaults.TLS_POLL_S):
                    await self._stop.wait()
            self.look()

    def look(self) -> bool:
        """Read the files again if they have changed; return whether new connections get another certificate.

        What cannot be used is told in the log once, and the former certificate stays: a renewal that writes one file
        after the other has a moment in which they do not belong together.
        """
        self._tell_end()
        stamps = self._stamped()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            # Into a context of its own first: one that fails halfway would have the new certificate and the old key.
            self._read()
            ends = self._end()
            if _is_over(ends):
                _log.warning("the certificate is not renewed: %s", self._over(ends))
                return False
            self.context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except OSError as error:
            _log.warning("the certificate is not renewed: %s", self._wrong(error))
            return False
        self._ends, self._is_end_told = ends, False
        _log.info("the certificate was read again")
        return True

    def _tell_end(self) -> None:
        """Say once that the certificate in use is one that clients refuse."""
        if not self._is_end_told and _is_over(self._ends):
            self._is_end_told = True
            _log.warning("%s; clients refuse it, renew it", self._over(self._ends))

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate, self._key, password=_no_password)
        return context

    def _end(self) -> datetime | None:
        """Return when the certificate ends; None: it is such that nobody can tell."""
        from cryptography import x509  # noqa: PLC0415 - most nodes have no certificate

        try:
            return x509.load_pem_x509_certificate(self._certificate.read_bytes()).not_valid_after_utc
        except ValueError:
            # OpenSSL took it; what it does not mind need not stop a node.
            return None

    def _over(self, ends: datetime | None) -> str:
        return f"AICN.API.TLSCertificate {self._certificate} ended on {ends:%Y-%m-%d at %H:%M} UTC"

    def _stamped(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._certificate), _stamp(self._key)

    def _wrong(self, error: OSError) -> str:
        reason = getattr(error, "reason", None) or (
            "not as PEM files are" if isinstance(error, ssl.SSLError) else error.strerror
        )
        return (
            f"AICN.API.TLSCertificate {self._certificate} and TLSKey {self._key} cannot be used ({reason}); name PEM "
            "files of a certificate and its key, which need no password and may be read by this user"
        )


def _is_over(ends: datetime | None) -> bool:
    return ends is not None and datetime.now(UTC) >= ends


def _no_password() -> bytes:
    """Nobody is there to type one; without this, OpenSSL would ask at the terminal."""
    return b""


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return _NONE
    # The last tells of rights that have changed: the files may have been unreadable for a moment.
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aicn.api.tls import TlsFiles
from aicn.errors import ConfigError
from support.certificates import write_certificate


def served(context: ssl.SSLContext) -> bytes:
    """Return the certificate that a new connection gets."""
    here, there = socket.socketpair()
    here.settimeout(10)

    def serve() -> None:
        with there, context.wrap_socket(there, server_side=True) as stream:
            stream.recv(1)

    server = threading.Thread(target=serve)
    server.start()
    asking = ssl.create_default_context()
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    with here, asking.wrap_socket(here) as stream:
        found = stream.getpeercert(binary_form=True)
        stream.send(b"x")
    server.join()
    assert found is not None
    return found


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    files = TlsFiles(*write_certificate(tmp_path, "a.example"))
    first = served(files.context)
    assert files.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not files.look()
    write_certificate(tmp_path, "b.example")
    assert files.look()
    assert b"b.example" in served(files.context) != first


def test_a_renewal_that_is_half_done_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = write_certificate(tmp_path, "a.example")
    files = TlsFiles(certificate, key)
    former = key.read_bytes()
    write_certificate(tmp_path, "b.example")
    renewed = key.read_bytes()
    key.write_bytes(former)
    assert not files.look()
    assert "the certificate is not renewed" in caplog.text
    assert b"a.example" in served(files.context)
    key.unlink()
    assert not files.look()
    key.write_bytes(renewed)
    assert files.look()
    assert b"b.example" in served(files.context)


def test_one_that_could_not_be_read_for_a_moment_is_read_when_it_can_be(tmp_path: Path) -> None:
    files = TlsFiles(*write_certificate(tmp_path, "a.example"))
    certificate, key = write_certificate(tmp_path, "b.example")
    found, read = key.stat(), []
    with pytest.MonkeyPatch.context() as patch:

        def unreadable(*_: Any, **__: Any) -> None:
            read.append(1)
            raise PermissionError(13, "Permission denied")

        patch.setattr(ssl.SSLContext, "load_cert_chain", unreadable)
        assert not files.look()
    assert read
    key.chmod(0o644 if found.st_mode & 0o777 != 0o644 else 0o600)
    assert key.stat().st_mtime_ns == found.st_mtime_ns
    assert files.look()
    assert b"b.example" in served(files.context)
    assert certificate.exists()


def test_one_that_is_over_takes_no_other_ones_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = TlsFiles(*write_certificate(tmp_path, "a.example"))
    assert not caplog.messages
    write_certificate(tmp_path, "b.example", valid=timedelta(days=-2))
    assert not files.look()
    assert "the certificate is not renewed: AICN.API.TLSCertificate" in caplog.text
    assert "node.pem ended on 20" in caplog.text
    assert b"a.example" in served(files.context)


def test_one_that_ends_while_it_is_served_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = TlsFiles(*write_certificate(tmp_path, "a.example", valid=timedelta(days=-2)))
    assert not files.look()
    (told,) = caplog.messages
    assert told.endswith("; clients refuse it, renew it")
    write_certificate(tmp_path, "b.example")
    assert files.look()


@pytest.mark.parametrize("broken", ["no certificate", "no key", "another key", "no PEM", "half of one", "a password"])
def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path, broken: str) -> None:
    certificate, key = write_certificate(tmp_path, "a.example")
    match broken:
        case "no certificate":
            certificate.unlink()
        case "no key":
            key.unlink()
        case "another key":
            former = certificate.read_bytes()
            write_certificate(tmp_path, "b.example")
            certificate.write_bytes(former)
        case "no PEM":
            certificate.write_bytes(b"hello")
        case "half of one":
            key.write_bytes(key.read_bytes()[:100])
        case _:
            key.write_bytes(
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAg=\n"
                b"-----END ENCRYPTED PRIVATE KEY-----\n"
            )
    with pytest.raises(
        ConfigError, match=r"TLSCertificate .*node\.pem and TLSKey .*node\.key cannot be used \(.+\)"
    ) as refused:
        TlsFiles(certificate, key)
    assert "_ssl.c" not in str(refused.value)

"""What a source may do to a node that looks at it: nothing, unless it is a good and newer release."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aicn import defaults
from aicn.config.source import check_source
from aicn.errors import ReleaseRefused, UpgradeError
from aicn.upkeep.upgrade.health import is_healthy
from aicn.upkeep.upgrade.manifest import MANIFEST_NAME
from aicn.upkeep.upgrade.releases import Releases
from aicn.upkeep.upgrade.settings import UpgradeSettings
from aicn.upkeep.upgrade.source import Source
from aicn.upkeep.upgrade.state import State, StateFile
from aicn.upkeep.upgrade.updater import Updater
from support.releases import DOES_NOT_START, Publisher


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def settings(publisher: Publisher, tmp_path: Path) -> UpgradeSettings:
    return make_settings(tmp_path / "home", str(publisher.source), publisher.public_key)


def make_settings(home: Path, source: str, public_key: str) -> UpgradeSettings:
    return UpgradeSettings(
        source=source,
        public_key=public_key,
        home=home,
        interval_s=1.0,
        health_timeout_s=1.0,
        probation_s=1.0,
        api_address="127.0.0.1:1",
        peer_id="nobody",
    )


def state(settings: UpgradeSettings) -> State:
    return StateFile(settings.state_path).read()


def refused(settings: UpgradeSettings, words: str, *, own_version: str = "1.0.0") -> None:
    """Assert that the source is refused, by looking as by taking, and that nothing is there afterwards."""
    before = state(settings)
    for look in (Updater(settings, own_version=own_version).check, Updater(settings, own_version=own_version).apply):
        with pytest.raises(UpgradeError, match=words):
            look()
    after = state(settings)
    assert (after.pending, after.current, after.bad) == (before.pending, before.current, before.bad)
    assert words.replace("\\", "") in after.outcome
    assert not list((settings.home / "staging").glob("*"))
    assert not list((settings.home / "releases").glob("*/*"))


def test_a_newer_release_is_made_ready_once(publisher: Publisher, settings: UpgradeSettings) -> None:
    archive = publisher.publish("2.0.0")
    updater = Updater(settings, own_version="1.0.0")
    found = updater.check()
    assert found is not None
    assert found.version == "2.0.0"
    assert state(settings).pending == ""
    assert updater.apply() == "2.0.0"
    assert state(settings).pending == "2.0.0"
    assert Releases(settings.home).has("2.0.0")
    assert list(Releases(settings.home).path("2.0.0").glob("aicn/__pycache__/errors.*.pyc")), "its start is quick"
    archive.unlink()
    assert updater.apply() == "2.0.0", "it is not fetched again"


def test_the_same_version_is_nothing_new(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0")
    assert Updater(settings, own_version="2.0.0").check() is None
    assert Updater(settings, own_version="2.0.0").apply() == ""
    assert state(settings).outcome == "what runs is the newest"


def test_a_step_back_is_refused(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0")
    refused(settings, "a step back is never taken", own_version="2.0.1")


def test_an_old_manifest_in_place_of_a_newer_one_is_refused(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0")
    old = (publisher.source / MANIFEST_NAME).read_bytes()
    publisher.publish("3.0.0")
    assert Updater(settings, own_version="1.0.0").check() is not None
    (publisher.source / MANIFEST_NAME).write_bytes(old)
    refused(settings, "after it had offered 3.0.0")


def test_a_manifest_signed_with_another_key_is_refused(
    publisher: Publisher, settings: UpgradeSettings, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    publisher.publish("2.0.0", key=Publisher(tmp_path / "elsewhere").key)
    refused(settings, "not signed with the key")
    assert state(settings).newest == "", "what is not signed is not believed in any way"


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(lambda data: data[:-1], id="cut"),
        pytest.param(lambda data: data + b"x", id="longer"),
        pytest.param(lambda data: b"x" + data[1:], id="changed"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_an_archive_that_is_not_the_signed_one_is_refused(
    publisher: Publisher, settings: UpgradeSettings, tamper: Callable[[bytes], bytes]
) -> None:
    archive = publisher.publish("2.0.0")
    archive.write_bytes(tamper(archive.read_bytes()))
    with pytest.raises(ReleaseRefused, match=r"is not the file|is larger than"):
        Updater(settings, own_version="1.0.0").apply()
    assert state(settings).pending == ""
    assert not (settings.home / "releases").exists()
    assert not list(settings.home.rglob("*.zip"))


def test_a_release_for_other_machines_is_refused(publisher: Publisher, settings: UpgradeSettings) -> None:
    archive = publisher.publish("2.0.0")
    publisher.put_manifest("2.0.0", archive, platform="cpython-311-plan9-pdp11")
    with pytest.raises(ReleaseRefused, match="not made for this machine"):
        Updater(settings, own_version="1.0.0").apply()


def test_a_release_that_needs_a_later_start_is_refused(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0", minimum="1.5.0")
    refused(settings, "install 1.5.0 by hand first")
    found = Updater(settings, own_version="1.5.0").check()
    assert found is not None


def test_a_release_that_failed_here_is_not_taken_again(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0")
    StateFile(settings.state_path).change(lambda now: now.with_bad("2.0.0", "it ended with status 3"))
    refused(settings, "not tried again: it ended with status 3")


def test_a_release_that_cannot_start_here_is_refused_before_the_node_stops(
    publisher: Publisher, settings: UpgradeSettings
) -> None:
    publisher.publish("2.0.0", fault=DOES_NOT_START)
    with pytest.raises(ReleaseRefused, match=r"2\.0\.0 does not start here: .*libc"):
        Updater(settings, own_version="1.0.0").apply()
    assert state(settings).pending == ""
    assert not list((settings.home / "releases").glob("*/*"))


def test_an_archive_with_another_version_in_it_is_refused(publisher: Publisher, settings: UpgradeSettings) -> None:
    archive = publisher.publish("2.0.0")
    publisher.put_manifest("2.1.0", archive)
    with pytest.raises(ReleaseRefused, match=r"2\.1\.0 does not start here: aicn 2\.0\.0"):
        Updater(settings, own_version="1.0.0").apply()


def test_a_manifest_without_an_end_is_not_read_to_its_end(publisher: Publisher, settings: UpgradeSettings) -> None:
    (publisher.source / MANIFEST_NAME).write_bytes(b"x" * (defaults.UPGRADE_MANIFEST_MAX_BYTES + 1))
    refused(settings, "is larger than the 262144 bytes")


def test_an_empty_source_is_told(settings: UpgradeSettings) -> None:
    refused(settings, f"{MANIFEST_NAME} at .* cannot be read".replace(" at .* cannot be read", ""))


def test_a_release_of_another_python_does_not_count(publisher: Publisher, settings: UpgradeSettings) -> None:
    publisher.publish("2.0.0")
    other = settings.home / "releases" / "cpython-399-linux-x86_64" / "2.0.0"
    other.mkdir(parents=True)
    StateFile(settings.state_path).change(lambda _: State(current="2.0.0", newest="2.0.0"))
    assert Updater(settings, own_version="1.0.0").apply() == "2.0.0"
    releases = Releases(settings.home)
    assert releases.has("2.0.0")
    releases.keep_only({"2.0.0"})
    assert not other.exists()
    assert releases.has("2.0.0")


# --- web servers ------------------------------------------------------------------------------------------


class Server:
    """A web server on loopback that serves a folder, or leads elsewhere."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder = folder
        self.lead_to = ""
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if outer.lead_to and not self.path.startswith("/moved"):
                    self.send_response(302)
                    self.send_header("Location", outer.lead_to + self.path)
                    self.end_headers()
                    return
                self.path = self.path.removeprefix("/moved")
                super().do_GET()

            def translate_path(self, path: str) -> str:
                return str(outer.folder / path.removeprefix("/"))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    with Server(publisher.source) as running:
        yield running


def test_a_release_comes_over_http(publisher: Publisher, server: Server, tmp_path: Path) -> None:
    publisher.publish("2.0.0")
    settings = make_settings(tmp_path / "home", server.url, publisher.public_key)
    assert Updater(settings, own_version="1.0.0").apply() == "2.0.0"


def test_a_redirect_on_the_same_host_is_followed(publisher: Publisher, server: Server) -> None:
    (publisher.source / "file").write_bytes(b"content")
    server.lead_to = "/moved"
    assert Source(server.url).read("file", 100) == b"content"


def test_a_redirect_to_another_host_is_not_followed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"evil")
    with Server(tmp_path) as other:
        server.lead_to = other.url
        with pytest.raises(UpgradeError, match=r"leads on to '127.0.0.1:[0-9]+', which is not followed"):
            Source(server.url).read("file", 100)
        assert other.asked == []


def test_a_redirect_to_a_file_is_not_followed(server: Server) -> None:
    server.lead_to = "file:///etc"
    with pytest.raises(UpgradeError):
        Source(server.url).read("hostname", 100)


def make_certificate(path: Path) -> None:
    """Write a key and a certificate for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))


def test_a_certificate_is_asked_for_and_https_is_not_left(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (publisher.source / "file").write_bytes(b"content")
    certificate = tmp_path / "localhost.pem"
    make_certificate(certificate)
    with Server(publisher.source, certificate) as secure, Server(publisher.source) as plain:
        with pytest.raises(UpgradeError, match=r"cannot be reached .*certificate verify failed"):
            Source(secure.url).read("file", 100)
        assert secure.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert Source(secure.url).read("file", 100) == b"content"
        secure.lead_to = plain.url
        with pytest.raises(UpgradeError, match="which is not followed"):
            Source(secure.url).read("file", 100)
        assert plain.asked == []


def test_what_is_not_there_is_told_by_the_servers_answer(server: Server) -> None:
    with pytest.raises(UpgradeError, match="it answered 404"):
        Source(server.url).read("file", 100)


def test_a_server_that_is_gone_is_told(publisher: Publisher) -> None:
    with Server(publisher.source) as gone:
        url = gone.url
    with pytest.raises(UpgradeError, match="cannot be reached"):
        Source(url).read("file", 100)


def test_a_file_that_takes_too_long_is_left(publisher: Publisher) -> None:
    (publisher.source / "file").write_bytes(b"x" * 1000)
    with pytest.raises(UpgradeError, match="was not there after 0 s"):
        Source(str(publisher.source), timeout_s=0.0).read("file", 10_000)


@pytest.mark.parametrize(
    "text",
    [
        "/srv/releases",
        "~/releases",
        "file:///srv/releases",
        "https://releases.example.org/aicn",
        "http://127.0.0.1:8000/x",
    ],
)
def test_sources_that_can_be_used(text: str) -> None:
    assert check_source(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "releases",
        "http://releases.example.org",
        "http://127.0.0.1.example.org",
        "ftp://example.org",
        "https://",
        "https://example.org/?x=1",
        "https://example.org/#x",
        "file://other/srv",
        "https://[::1",
    ],
)
def test_sources_that_cannot(text: str) -> None:
    assert check_source(text)


def test_only_the_node_itself_counts_as_healthy(tmp_path: Path) -> None:
    (tmp_path / "api/v0").mkdir(parents=True)
    (tmp_path / "api/v0/id").write_text('{"peer_id": "me"}', encoding="utf-8")
    with Server(tmp_path) as running:
        address = running.url.removeprefix("http://")
        assert is_healthy(address, "me")
        assert is_healthy(f"0.0.0.0:{address.split(':')[1]}", "me")
        assert not is_healthy(address, "another")
        for text in ("[]", "no json", ""):
            (tmp_path / "api/v0/id").write_text(text, encoding="utf-8")
            assert not is_healthy(address, "me")
        (tmp_path / "api/v0/id").unlink()
        assert not is_healthy(address, "me")
    assert not is_healthy(address, "me")

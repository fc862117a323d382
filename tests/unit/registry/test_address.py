"""A model's URL passes only if it can be read in one way and leads to this machine."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from aicn import defaults
from aicn.errors import InvalidModel, NotSameMachine
from aicn.registry import check_model_url, is_own_address
from aicn.registry.address import IpAddress

_OWN = frozenset({"127.0.0.1", "127.8.8.8", "::1", "192.168.7.3", "fd00::3"})


def _is_own(address: IpAddress) -> bool:
    return str(address) in _OWN


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9009/v1/chat/completions",
        "http://127.8.8.8/",
        "https://localhost",
        "http://LOCALHOST:80/x?y=1&z=%20",
        "HTTP://127.0.0.1",
        "http://[::1]:8000/v1",
        "http://[::ffff:127.0.0.1]:8000/v1",
        "http://192.168.7.3:65535/",
        "http://[fd00::3]/",
        f"http://{socket.gethostname()}:8000/",
        "http://127.0.0.1?model=m",
    ],
)
def test_urls_of_this_machine_pass(url: str) -> None:
    check_model_url(url, is_own=_is_own)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.9.9.9:9009/v1",
        "http://example.com/",
        "http://localhost.example.com/",
        "http://localhost./",
        "http://model.localhost/",
        "http://0.0.0.0:8000/",
        "http://[::]:8000/",
        "http://127.1:8000/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1.nip.io/",
        "http://[2001:db8::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ],
)
@pytest.mark.parametrize("is_own", [_is_own, is_own_address])
def test_urls_of_other_machines_and_names_are_refused(url: str, is_own: type[object]) -> None:
    with pytest.raises(NotSameMachine) as refused:
        check_model_url(url, is_own=is_own)  # type: ignore[arg-type]
    assert str(refused.value) == "the url and the node are not on the same machine"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "//127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@127.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        "http://127.0.0.1#@example.com/",
        "http://127.0.0.1/#fragment",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:123456/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:+80/",
        "http://127.0.0.1:8o/",
        "http://127.0.0.1:/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[nonsense]/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nHost: example.com",
        "http://127.0.0.1/\x00",
        "http://127.0.0.1/é",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127.0.0.1%2eexample.com/",
        " http://127.0.0.1/",
        "http://127.0.0.1/\n",
    ],
)
def test_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidModel):
        check_model_url(url, is_own=lambda _: True)


def test_a_url_may_have_just_the_longest_length() -> None:
    longest = "http://127.0.0.1/".ljust(defaults.MODEL_API_MAX_BYTES, "x")
    check_model_url(longest, is_own=_is_own)
    with pytest.raises(InvalidModel, match="longer than 1024 bytes"):
        check_model_url(longest + "x", is_own=_is_own)


def test_the_address_that_packets_leave_from_is_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        source = probe.getsockname()[0]
    assert is_own_address(ipaddress.ip_address(source))


@pytest.mark.parametrize("address", ["192.0.2.77", "203.0.113.1", "2001:db8::77", "0.0.0.0", "::", "255.255.255.255"])  # noqa: S104
def test_addresses_of_nobody_are_not_own(address: str) -> None:
    assert not is_own_address(ipaddress.ip_address(address))


def test_localhost_is_own() -> None:
    found = {entry[4][0] for entry in socket.getaddrinfo("localhost", None)}
    assert found
    assert all(is_own_address(ipaddress.ip_address(str(each))) for each in found)

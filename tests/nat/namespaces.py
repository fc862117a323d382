"""A small internet on one machine: network namespaces, routers with NAT between them, made and removed by a test.

    with Internet() as internet:
        public = internet.public("server")
        home = internet.home("one")  # a router, and one machine behind it

Every public place has an address of its own under 20.0.0.0/8, which AutoNAT and UPnP take for the public ones that they
are outside of namespaces. A home has the address of its router; its machine has 192.168.N.2.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

NFT_RULES = """
table ip nat {
    chain inward { type nat hook prerouting priority -100; }
    chain outward { type nat hook postrouting priority 100; oifname "wan" masquerade; }
}
table ip filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
        ct status dnat accept
    }
    chain input {
        type filter hook input priority 0; policy accept;
        iifname "wan" ct state new drop
    }
}
"""
"""A home router: everything out, nothing in but answers and what is mapped; strangers get no answer at all."""

_numbers = count(1)


class NamespaceError(AssertionError):
    """A command that makes the network failed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A machine in the internet."""

    namespace: str
    ip: str


@dataclass(frozen=True, slots=True)
class Home:
    """A machine behind a router."""

    machine: Place
    router: Place
    """With its address outside."""
    gateway_ip: str
    """The router as the machine sees it."""


def run(*words: str, given: str | None = None) -> None:
    """Run a command.

    Raises:
        NamespaceError: it failed.
    """
    done = subprocess.run(words, input=given, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise NamespaceError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


def why_not() -> str | None:
    """Tell why namespaces with NAT cannot be made here; None if they can."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    if os.geteuid():
        return "making network namespaces takes root"
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            return f"the program {program} is missing: install iproute2 and nftables"
    try:
        with Internet() as internet:
            internet.home("probe")
    except NamespaceError as error:
        return f"this kernel or sandbox allows no namespaces with NAT: {error}"
    return None


class Internet:
    """Namespaces around one that routes between them. Use as a context."""

    def __init__(self) -> None:
        """Prepare; nothing is made yet."""
        self._prefix = f"aicn-{os.getpid()}-{next(_numbers)}"
        self._made: list[str] = []
        self._networks = count(1)
        self._homes = count(1)

    def __enter__(self) -> Self:
        """Make the namespace in the middle."""
        try:
            self._core = self._namespace("core")
            self._forward(self._core)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove every namespace."""
        self.close()

    def close(self) -> None:
        """Remove every namespace; their links go with them."""
        while self._made:
            with contextlib.suppress(NamespaceError):
                run("ip", "netns", "del", self._made.pop())

    def public(self, name: str) -> Place:
        """Make a machine with a public address."""
        return self._connect(self._namespace(name), "eth0")

    def home(self, name: str) -> Home:
        """Make a router with NAT, and a machine behind it."""
        router = self._connect(self._namespace(f"{name}-router"), "wan")
        machine, number = self._namespace(name), next(self._homes)
        inside, own = f"192.168.{number}.1", f"192.168.{number}.2"
        run("ip", "link", "add", "lan", "netns", router.namespace, "type", "veth", "peer", "eth0", "netns", machine)
        self._address(router.namespace, "lan", f"{inside}/24")
        self._address(machine, "eth0", f"{own}/24")
        run("ip", "-n", machine, "route", "add", "default", "via", inside)
        self._forward(router.namespace)
        run("ip", "netns", "exec", router.namespace, "nft", "-f", "-", given=NFT_RULES)
        return Home(Place(machine, own), router, inside)

    def _namespace(self, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        run("ip", "netns", "add", namespace)
        self._made.append(namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _connect(self, namespace: str, device: str) -> Place:
        number = next(self._networks)
        link, near, far = f"to{number}", f"20.0.{number}.1", f"20.0.{number}.2"
        run("ip", "link", "add", link, "netns", self._core, "type", "veth", "peer", device, "netns", namespace)
        self._address(self._core, link, f"{near}/24")
        self._address(namespace, device, f"{far}/24")
        run("ip", "-n", namespace, "route", "add", "default", "via", near)
        return Place(namespace, far)

    @staticmethod
    def _forward(namespace: str) -> None:
        run("ip", "netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    @staticmethod
    def _address(namespace: str, device: str, address: str) -> None:
        run("ip", "-n", namespace, "address", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")

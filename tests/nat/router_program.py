"""The services of a home router, to be run in its namespace: NAT-PMP (RFC 6886) and UPnP's port mapping. What is lent
is a rule of the kernel's NAT, so that others do come in. Each request is told as a line of JSON."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

NAT_PMP_PORT = 5351
SSDP_GROUP, SSDP_PORT = "239.255.255.250", 1900
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
ADD_ARGUMENTS = (
    "NewRemoteHost NewExternalPort NewProtocol NewInternalPort NewInternalClient NewEnabled NewPortMappingDescription "
    "NewLeaseDuration"
)
DELETE_ARGUMENTS = "NewRemoteHost NewExternalPort NewProtocol"


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def nft(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, check=True, text=True)  # noqa: S607


class Leases:
    """What is lent: port outside to machine and port inside."""

    def __init__(self, wan_ip: str) -> None:
        self.wan_ip = wan_ip
        self.held: dict[int, tuple[str, int]] = {}

    def lend(self, by: str, external: int, client: str, port: int, lease_s: int) -> None:
        self.held[external] = client, port
        self._apply()
        say(event="lent", by=by, external=external, client=client, port=port, lease_s=lease_s)

    def take_back(self, by: str, external: int) -> None:
        self.held.pop(external, None)
        self._apply()
        say(event="returned", by=by, external=external)

    def _apply(self) -> None:
        rules = "".join(
            f'add rule ip nat inward iifname "wan" tcp dport {external} dnat to {client}:{port}\n'
            for external, (client, port) in self.held.items()
        )
        nft("flush chain ip nat inward\n" + rules)


class NatPmp(asyncio.DatagramProtocol):
    def __init__(self, leases: Leases, lease_s: int) -> None:
        self.leases = leases
        self.lease_s = lease_s

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        version, code = data[0], data[1]
        if version != 0:
            answer = struct.pack("!BBHI", 0, 128 + code, 1, 1)
        elif code == 0:
            answer = struct.pack("!BBHI4s", 0, 128, 0, 1, socket.inet_aton(self.leases.wan_ip))
        else:
            _, port, external, lease_s = struct.unpack("!HHHI", data[2:12])
            if lease_s:
                granted = min(lease_s, self.lease_s)
                self.leases.lend("nat-pmp", external or port, addr[0], port, granted)
            else:
                granted = external = 0
                for lent, target in list(self.leases.held.items()):
                    if target == (addr[0], port):
                        self.leases.take_back("nat-pmp", lent)
            answer = struct.pack("!BBHIHHI", 0, 128 + code, 0, 1, port, external, granted)
        self.transport.sendto(answer, addr)


class Search(asyncio.DatagramProtocol):
    def __init__(self, location: str) -> None:
        self.location = location

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(b"M-SEARCH"):
            say(event="searched", by=addr[0])
            self.transport.sendto(f"HTTP/1.1 200 OK\r\nLOCATION: {self.location}\r\n\r\n".encode(), addr)


def description() -> str:
    service = (
        f"<service><serviceType>{SERVICE}</serviceType><controlURL>/control</controlURL>"
        "<SCPDURL>/schema.xml</SCPDURL></service>"
    )
    inner = f"<device><serviceList>{service}</serviceList></device>"
    middle = f"<device><deviceList>{inner}</deviceList></device>"
    return f"<root><device><deviceList>{middle}</deviceList></device></root>"


def schema() -> str:
    def action(name: str, arguments: str) -> str:
        each = "".join(
            f"<argument><name>{argument}</name><direction>in</direction></argument>" for argument in arguments.split()
        )
        return f"<action><name>{name}</name><argumentList>{each}</argumentList></action>"

    add = action("AddPortMapping", ADD_ARGUMENTS)
    rest = action("DeletePortMapping", DELETE_ARGUMENTS) + action("GetExternalIPAddress", "")
    return f"<scpd><actionList>{add}{rest}</actionList></scpd>"


def control(leases: Leases, head: str, body: str) -> str:
    def value(name: str) -> str:
        found = re.search(f"<{name}>([^<]*)<", body)
        assert found is not None, body
        return found[1]

    asked = re.search(r'(?im)^soapaction:.*#(\w+)"', head)
    assert asked is not None, head
    inner = ""
    if asked[1] == "GetExternalIPAddress":
        inner = f"<NewExternalIPAddress>{leases.wan_ip}</NewExternalIPAddress>"
    elif asked[1] == "AddPortMapping":
        port, client, lease_s = value("NewInternalPort"), value("NewInternalClient"), value("NewLeaseDuration")
        leases.lend("upnp", int(value("NewExternalPort")), client, int(port), int(lease_s))
    else:
        leases.take_back("upnp", int(value("NewExternalPort")))
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f'<u:{asked[1]}Response xmlns:u="{SERVICE}">{inner}</u:{asked[1]}Response></s:Body></s:Envelope>'
    )


def http(leases: Leases) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)content-length: (\d+)", head)
                body = (await reader.readexactly(int(length[1]) if length else 0)).decode()
                if head.startswith("POST"):
                    answer = control(leases, head, body)
                else:
                    answer = schema() if "/schema.xml" in head.splitlines()[0] else description()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return serve


async def main() -> None:
    lan_ip, wan_ip, _, lease_s, *services = sys.argv[1:]
    leases = Leases(wan_ip)
    loop = asyncio.get_running_loop()
    if "nat-pmp" in services:
        await loop.create_datagram_endpoint(lambda: NatPmp(leases, int(lease_s)), local_addr=(lan_ip, NAT_PMP_PORT))
    if "upnp" in services:
        server = await asyncio.start_server(http(leases), lan_ip, 0)
        port = server.sockets[0].getsockname()[1]
        ssdp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ssdp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ssdp.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(SSDP_GROUP) + socket.inet_aton(lan_ip)
        )
        ssdp.bind((SSDP_GROUP, SSDP_PORT))
        ssdp.setblocking(False)  # noqa: FBT003
        location = f"http://{lan_ip}:{port}/root.xml"
        await loop.create_datagram_endpoint(lambda: Search(location), sock=ssdp)
    say(event="ready")
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

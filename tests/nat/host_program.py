"""A native host as a program of its own, to be run in a namespace: commands come in as lines of JSON, what becomes of
them, and what the host tells, goes out as lines of JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from aicn.errors import AicnError
from aicn.identity import PrivateKey
from aicn.ids import Multiaddr, PeerId
from aicn.p2p.host import HostConfig, HostEvent, RoutingMode, Stream
from aicn.p2p.native import NativeHost

PROTOCOL = "/test/1.0.0"


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


def tell(event: HostEvent) -> None:
    say(event=type(event).__name__, **{key: plain(value) for key, value in vars_of(event).items()})


def vars_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {key: plain(each) for key, each in vars_of(value).items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


async def ask(host: NativeHost, peer: str, text: str) -> list[object]:
    """Send `text` on a stream; give what came back and whether a relay carried it."""
    stream = await host.open_stream(PeerId(peer), PROTOCOL, first=text.encode())
    answer = await stream.read()
    await stream.close()
    return [answer.decode(), stream.relayed]


async def obey(host: NativeHost, order: dict[str, Any]) -> Any:
    name = order["do"]
    if name == "connect":
        return await host.connect(Multiaddr(order["addr"]), timeout_s=order.get("timeout_s"))
    if name in {"listen", "unlisten"}:
        return await (host.listen if name == "listen" else host.unlisten)(Multiaddr(order["addr"]))
    if name == "ask":
        return await ask(host, order["peer"], order["text"])
    facts: dict[str, Callable[[], Any]] = {
        "listen_addrs": host.listen_addrs,
        "protocols": lambda: host.protocols,
        "connections": host.connections,
        "identity": lambda: host.identity(PeerId(order["peer"])),
    }
    return plain(facts[name]())


async def main() -> None:
    settings = json.loads(sys.argv[1])
    settings["routing_mode"] = RoutingMode(settings.get("routing_mode", "client"))
    settings["listen_addrs"] = tuple(settings["listen_addrs"])
    key = PrivateKey.generate()
    host = NativeHost(HostConfig(key.protobuf, stream_protocols=(PROTOCOL,), topics=("test",), **settings))
    host.on_stream(PROTOCOL, echo)
    host.on_event(tell)
    await host.start()
    say(started=host.peer_id)
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    async def answer(order: dict[str, Any]) -> None:
        try:
            say(id=order["id"], done=await obey(host, order))
        except AicnError as error:
            say(id=order["id"], failed=type(error).__name__, why=str(error))

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    await host.close()


if __name__ == "__main__":
    asyncio.run(main())

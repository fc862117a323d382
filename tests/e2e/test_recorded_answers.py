"""Every answer that was recorded from the reference, asked of our nodes: field for field, code for code.

One Input, one Worker with a chat model m1 (project P) and an image model m2 (project Q), and one more libp2p peer.
A case says what it asks and which answer the reference gave: literal values where they are promised, a kind of value
where they depend on the machine. Where ours must differ, the case says how and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from aicn.identity import PreSharedKey, PrivateKey
from aicn.ids import Multiaddr
from aicn.p2p.host import HostConfig
from aicn.p2p.native import NativeHost
from support.mock_model_server import MockModelServer
from support.processes import ModelEntry, NodeProcess, Nodes

MESSAGES = [{"role": "user", "content": "hi"}]
STRANGER = "16Uiu2HAmDeqPaYx42CKMAoSy11YCMpd8xtLPbyhVqysLQDgedhFY"


@dataclass(frozen=True, slots=True)
class Kind:
    """A value that is only known by its kind."""

    name: str
    check: Callable[[Any], bool]


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _like(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


PEER = Kind("peer id", _like(r"16Uiu2HA[1-9A-HJ-NP-Za-km-z]{45}"))
ADDR = Kind("address", _like(r"/ip4/127\.0\.0\.1/tcp/[0-9]+"))
TEXT = Kind("text", _is(str))
COUNT = Kind("count", lambda value: type(value) is int and value >= 0)
PROTOCOL = Kind("protocol", _like(r"/.+"))
LATENCY = Kind("Go duration", _like(r"0s|[0-9.]+(ns|µs|ms|s)"))
B64 = Kind("base64", _like(r"[A-Za-z0-9+/]+=*"))
URL = Kind("URL", _like(r"http://127\.0\.0\.1:[0-9]+/.*"))


def sentence(start: str) -> Kind:
    """Return the kind of a message that begins like the reference's; the rest is our own words."""
    return Kind(f"{start}…", lambda value: isinstance(value, str) and value.startswith(start))


@dataclass(frozen=True, slots=True)
class Each:
    """A list, each of whose items is like this one; how many there are is told by `least`."""

    item: Any
    least: int = 1


@dataclass(frozen=True, slots=True)
class With:
    """An object with these fields, and maybe others that a better answer has."""

    fields: dict[str, Any]


def differences(expected: Any, actual: Any, path: str = "$") -> list[str]:
    """Return where `actual` is not as `expected`."""
    match expected:
        case Kind():
            found = [] if expected.check(actual) else [f"{path} is {actual!r}, not a {expected.name}"]
        case Each():
            found = _items([expected.item] * max(expected.least, _length(actual)), actual, path)
        case list():
            found = _items(expected, actual, path)
        case With():
            found = _fields(expected.fields, actual, path)
        case dict():
            found = _fields(expected, actual, path)
            if isinstance(actual, dict):
                found += [f"{path} has {name} besides" for name in actual.keys() - expected.keys()]
        case _:
            same = type(expected) is type(actual) and expected == actual
            found = [] if same else [f"{path} is {actual!r}, not {expected!r}"]
    return found


def _length(actual: Any) -> int:
    return len(actual) if isinstance(actual, list) else 0


def _items(expected: list[Any], actual: Any, path: str) -> list[str]:
    if not isinstance(actual, list) or len(actual) != len(expected):
        return [f"{path} is {actual!r}, not a list of {len(expected)}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [text for index, (one, other) in pairs for text in differences(one, other, f"{path}[{index}]")]


def _fields(expected: dict[str, Any], actual: Any, path: str) -> list[str]:
    if not isinstance(actual, dict):
        return [f"{path} is {actual!r}, not an object"]
    found = [f"{path} has no {name}" for name in expected.keys() - actual.keys()]
    for name in expected.keys() & actual.keys():
        found += differences(expected[name], actual[name], f"{path}.{name}")
    return found


@dataclass(frozen=True, slots=True)
class Setup:
    """The nodes, and one client."""

    entry: NodeProcess
    worker: NodeProcess
    server: MockModelServer
    http: aiohttp.ClientSession

    def fill(self, text: str) -> str:
        """Return `text` with the names of nodes in place of their marks."""
        marks = {
            "<input>": self.entry.peer,
            "<worker>": self.worker.peer,
            "<worker addr>": self.worker.multiaddr.partition("/p2p/")[0],
            "<server>": self.server.chat_url.removesuffix("/v1/chat/completions"),
        }
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    psk = PreSharedKey.generate()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MockModelServer())
        nodes = await stack.enter_async_context(Nodes(tmp_path_factory.mktemp("recorded"), psk=psk.hex))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        entry = await nodes.input()
        models: list[ModelEntry] = [("P", "m1", server.chat_url), ("Q", "m2", server.image_url, 1)]
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=models)
        raw = worker.config()
        for project, cid in zip(raw["AIProjects"], ("c1", "c2"), strict=True):
            project["Models"][0]["CID"] = cid
        worker.config_path.write_text(json.dumps(raw), encoding="utf-8")
        await worker.start()
        other = NativeHost(
            HostConfig(
                private_key=PrivateKey.generate().protobuf,
                listen_addrs=(Multiaddr("/ip4/127.0.0.1/tcp/0"),),
                psk=psk.raw,
                topics=("DeepBrainChain",),
            )
        )
        await other.start()
        stack.push_async_callback(other.close)
        await other.connect(Multiaddr(entry.multiaddr))
        await nodes.until_seen(entry, "P", "m1", worker)
        yield Setup(entry, worker, server, http)


_ID = {"peer_id": PEER, "protocol_version": "aicn/0.0.1", "addresses": Each(ADDR), "protocols": Each(PROTOCOL, 5)}
_EMPTY_CHAT = {
    "id": "",
    "object": "",
    "created": 0,
    "choices": None,
    "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
}
_CHAT = With(
    {
        "id": TEXT,
        "object": TEXT,
        "created": COUNT,
        "choices": [
            With({"index": 0, "message": With({"role": "assistant", "content": TEXT}), "finish_reason": "stop"})
        ],
        "usage": With({"completion_tokens": COUNT, "prompt_tokens": COUNT, "total_tokens": COUNT}),
    }
)
"""The reference drops what it does not know; ours is the model server's own answer, so it may have more."""

_HOST_INFO = {
    "os": dict.fromkeys(
        ("os", "platform", "platform_family", "platform_version", "kernel_version", "kernel_arch"), TEXT
    ),
    "cpu": Each({"model_name": TEXT, "total_cores": COUNT, "total_threads": COUNT}),
    "memory": {"total_physical_bytes": COUNT, "total_usable_bytes": COUNT},
    "disk": Each({"drive_type": TEXT, "size_bytes": COUNT, "model": TEXT, "serial_number": TEXT}, 0),
}

_GET: list[tuple[str, int, Any]] = [
    ("id", 200, _ID),
    ("peers", 200, {"data": Each(PEER, 2)}),
    ("rendezvous/peers", 200, {"data": Each(PEER, 1)}),
    (
        "swarm/peers",
        200,
        Each({"id": TEXT, "peer": PEER, "addr": ADDR, "latency": LATENCY, "direction": TEXT}, 2),
    ),
    ("swarm/addrs", 200, Each({"peer": PEER, "addrs": Each(ADDR)}, 2)),
    ("pubsub/peers", 200, Each(PEER, 2)),
    ("bootstrap/list", 200, {"data": []}),
    ("ai/projects/list", 200, {"data": ["P", "Q"]}),  # the reference's order is that of a Go map; ours is sorted
    ("ai/projects/models?project=P", 200, {"data": ["m1"]}),
    (
        "ai/projects/peers?project=P&model=m1",
        200,
        {"data": [{"node_id": PEER, "connectivity": 1, "latency": COUNT, "Idle": 0, "cid": "c1"}]},
    ),
    ("ai/projects/models?project=none", 200, {"data": []}),
    ("ai/projects/peers?project=P&model=none", 200, {"data": []}),
]

_POST: list[tuple[str, str, int, Any]] = [
    ("peer", '{"node_id":"<worker>"}', 200, {**_ID, "agent_version": TEXT}),  # where the node tells it
    ("peer", '{"node_id":"<input>"}', 200, _ID),
    ("peer", "{}", 400, {"code": 1001, "message": "empty node_id"}),
    ("peer", "{bad", 400, {"code": 1002, "message": "Parsing error"}),
    ("host/info", '{"node_id":"<worker>"}', 200, With(_HOST_INFO)),  # gpu, where the machine has one
    (
        "ai/project/peer",
        '{"node_id":"<worker>"}',
        200,
        {
            "data": {
                # Ours does not tell where the model server is: nobody else can reach it there.
                "P": [{"Model": "m1", "API": TEXT, "Type": 0, "CID": "c1", "Idle": COUNT}],
                "Q": [{"Model": "m2", "API": TEXT, "Type": 1, "CID": "c2", "Idle": COUNT}],
            }
        },
    ),
    (
        "chat/completion",
        '{"node_id":"<worker>","project":"P","model":"m1","cid":"c1","messages":[{"role":"user","content":"hi"}]}',
        200,
        _CHAT,
    ),
    (
        "chat/completion",
        '{"node_id":"<worker>","project":"P","model":"zz","cid":"c1","messages":[{"role":"user","content":"hi"}]}',
        500,
        {"code": 1007, "message": "can not find in registered project and model", **_EMPTY_CHAT},
    ),
    (
        "chat/completion/proxy",
        '{"project":"P","model":"zz","messages":[{"role":"user","content":"hi"}]}',
        500,
        {"code": 1017, "message": "Not enough available and directly connected nodes", **_EMPTY_CHAT},
    ),
    ("chat/completion/proxy", '{"project":"P","model":"m1","messages":[]}', 200, _CHAT),
    (
        "image/gen/proxy",
        '{"project":"Q","model":"m2","prompt":"cat","n":1,"size":"256x256","response_format":"b64_json"}',
        200,
        With({"created": COUNT, "data": [With({"b64_json": B64})]}),
    ),
    (
        "image/gen",
        '{"node_id":"<worker>","project":"Q","model":"m2","cid":"c2","prompt":"cat","n":1,"response_format":"url"}',
        200,
        With({"created": COUNT, "data": [With({"url": URL})]}),
    ),
    (
        "swarm/connect",
        f'{{"node_addr":"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}"}}',
        500,
        {"code": 5000, "message": sentence("failed to dial")},
    ),
    (
        "swarm/disconnect",
        '{"node_addr":"x"}',
        500,
        {"code": 5000, "message": 'failed to parse multiaddr "x": must begin with /'},
    ),
    (
        "bootstrap/add",
        f'{{"node_addr":"<worker addr>/p2p/{STRANGER}"}}',
        500,
        {"code": 5000, "message": sentence("failed to dial")},
    ),
]


def _is_typed(content_type: str) -> bool:
    return content_type.replace(" ", "") == "application/json;charset=utf-8"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "status", "expected"), _GET, ids=[path for path, *_ in _GET])
async def test_get(setup: Setup, path: str, status: int, expected: Any) -> None:
    async with setup.http.get(f"{setup.entry.api}/{path}") as answer:
        assert (answer.status, differences(expected, await answer.json())) == (status, [])
        assert _is_typed(answer.headers["content-type"])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "body", "status", "expected"), _POST, ids=[f"{path} {number}" for number, (path, *_) in enumerate(_POST)]
)
async def test_post(setup: Setup, path: str, body: str, status: int, expected: Any) -> None:
    async with setup.http.post(f"{setup.entry.api}/{path}", data=setup.fill(body)) as answer:
        assert (answer.status, differences(expected, await answer.json(content_type=None))) == (status, [])


@pytest.mark.asyncio(loop_scope="module")
async def test_answers_about_this_node_and_about_others_are_of_the_node_that_was_named(setup: Setup) -> None:
    for node in (setup.entry, setup.worker):
        async with setup.http.post(f"{setup.entry.api}/peer", json={"node_id": node.peer}) as answer:
            told = await answer.json()
        async with setup.http.get(f"{node.api}/id") as answer:
            own = await answer.json()
        told.pop("agent_version", None)
        assert {**told, "protocols": sorted(told["protocols"])} == {**own, "protocols": sorted(own["protocols"])}


@pytest.mark.asyncio(loop_scope="module")
async def test_registration(setup: Setup) -> None:
    """On the Worker, in this order: each case builds on those before it."""
    cases: list[tuple[str, dict[str, Any], int, Any]] = [
        ("ai/model/register", {"project": "P", "model": "m3", "api": "<server>/v1/chat/completions", "type": 0,
                               "cid": "c3"}, 200, {"message": "ok"}),
        ("ai/model/register", {"project": "P", "model": "m3", "api": "http://10.9.9.9:9009/v1", "type": 0,
                               "cid": "c4"}, 400,
         {"code": 1001, "message": "the url and the node are not on the same machine"}),
        ("ai/model/unregister", {"project": "P", "model": "m3", "cid": "c3"}, 200, {"message": "ok"}),
        ("ai/project/register", {"project": "R", "models": [
            {"model": "m4", "api": "<server>/v1/chat/completions", "type": 0, "cid": ""}]}, 200, {"message": "ok"}),
        ("ai/project/unregister", {"project": "R"}, 200, {"message": "ok"}),
    ]  # fmt: skip
    for path, body, status, expected in cases:
        sent = setup.fill(json.dumps(body))
        async with setup.http.post(f"{setup.worker.api}/{path}", data=sent) as answer:
            assert (answer.status, await answer.json()) == (status, expected), path


@pytest.mark.asyncio(loop_scope="module")
async def test_bootstrap_peers_come_and_go(setup: Setup) -> None:
    async def post(path: str) -> tuple[int, Any]:
        body = {"node_addr": setup.worker.multiaddr}
        async with setup.http.post(f"{setup.entry.api}/{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def listed() -> Any:
        async with setup.http.get(f"{setup.entry.api}/bootstrap/list") as answer:
            return await answer.json()

    assert await post("bootstrap/add") == (200, {"message": "ok"})
    assert await listed() == {"data": [setup.worker.multiaddr]}
    assert await post("bootstrap/rm") == (200, {"message": "ok"})
    assert await listed() == {"data": []}

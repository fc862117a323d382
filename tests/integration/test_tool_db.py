"""`aicn tool db` on the datastore of a real node, while it runs and after."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp

from aicn.store import Store
from support.command_line import aicn, refused
from support.mock_model_server import MockModelServer
from support.processes import NodeProcess, Nodes


async def test_a_node_while_it_runs_and_after(tmp_path: Path) -> None:
    async with Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry)
        # Nothing tells when it is written; some seconds of connections are gathered first.
        async with asyncio.timeout(30):
            while entry.peer not in shown(worker):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        check(worker, entry)
        assert await worker.stop() == 0
        check(worker, entry)
        assert await entry.stop() == 0


def shown(node: NodeProcess) -> str:
    return aicn("tool", "db", node.config_path, "show", "known-peers", cwd=node.folder).stdout


def check(worker: NodeProcess, entry: NodeProcess) -> None:
    listed = aicn("tool", "db", worker.folder / "datastore", cwd=worker.folder)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.search(r"^  known-peers +1 entries, \d+ bytes$", listed.stdout, re.MULTILINE)
    line = re.search(rf"^{entry.peer}  .*$", shown(worker), re.MULTILINE)
    assert line is not None
    assert f'addrs=["/ip4/127.0.0.1/tcp/{entry.p2p_port}"]' in line[0]
    assert re.search(r"last_connected_unix_s=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line[0])
    told = json.loads(
        aicn("tool", "db", worker.config_path, "show", "known-peers", entry.peer, "--json", cwd=worker.folder).stdout
    )
    assert (told["name"], told["entries"], told["shown"][0]["key"]) == ("known-peers", 1, entry.peer)
    assert told["shown"][0]["value"]["addrs"] == [f"/ip4/127.0.0.1/tcp/{entry.p2p_port}"]


async def test_the_history_of_a_node(tmp_path: Path) -> None:
    async with MockModelServer() as server, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)])
        await nodes.until_seen(entry, "P", "m", worker)
        chat = {"project": "P", "model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{entry.api}/chat/completion/proxy", json=chat) as answer,
        ):
            assert answer.status == 200
        words = ("tool", "db", entry.config_path, "show", "history")
        async with asyncio.timeout(30):
            while not (line := aicn(*words, cwd=entry.folder).stdout):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        assert re.match(
            rf"1  id=1  at_unix_ms=20\d\d-.*T.*\+00:00  side=input  .*model=m  .*peer={worker.peer}  ", line
        )
        told = json.loads(aicn(*words, "--json", cwd=entry.folder).stdout)
    assert (told["entries"], told["shown"][0]["value"]["prompt_tokens"]) == (1, 3)


async def test_what_peers_wrote_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.put("names", "k", b"\x1b[2Jcleared\n\xc2\x9b1m")
    await store.put("names", "long", b"x" * 5_000)
    await store.put("names", "z", b"1")
    await store.close()
    done = aicn("tool", "db", tmp_path, "show", "names", "--limit", "2", cwd=tmp_path)
    first, second, more = done.stdout.splitlines()
    assert first == r"k  \x1b[2Jcleared\x0a\x9b1m"
    assert second.endswith("… (5006 characters; --json shows all)")
    assert more == "… and 1 more; see --limit"


def test_refusals(tmp_path: Path) -> None:
    assert "there is no datastore at" in refused(aicn("tool", "db", tmp_path, cwd=tmp_path), 1)
    assert "say what to show" in refused(aicn("tool", "db", tmp_path, "show", cwd=tmp_path), 2)
    (tmp_path / "aicn.db").write_bytes(b"no database" * 1_000)
    assert "damaged or no datastore" in refused(aicn("tool", "db", tmp_path, cwd=tmp_path), 1)
    (tmp_path / "aicn.db").write_bytes(b"")
    assert "nothing yet" in aicn("tool", "db", tmp_path, cwd=tmp_path).stdout

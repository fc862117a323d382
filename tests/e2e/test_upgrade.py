"""Releases taken by real nodes: at the right moment, whole or not at all, and never twice when they fail."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from support.command_line import aicn
from support.mock_model_server import DONE, MockModelServer, Plan
from support.processes import NodeProcess, Nodes
from support.releases import CRASHES, CRASHES_LATER, SILENT, Publisher, state_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")

DEADLINE_S = 60.0
EVENTS = 60
CHAT = {"project": "P", "model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with Nodes(tmp_path / "nodes") as made:
        yield made
        for node in made.all:
            if node.running:
                await node.stop()


def upgrading(nodes: Nodes, publisher: Publisher, *models: tuple[str, str, str], **changes: Any) -> NodeProcess:
    """Make a node that looks for releases several times a second."""
    upgrades = {"AutoUpgrade": {"Enabled": True, "TimeInterval": "200ms"}}
    return nodes.make("input", models=models, app=upgrades, AICN=publisher.section(**changes))


async def until(node: NodeProcess, **wanted: Any) -> dict[str, Any]:
    """Wait until the node remembers `wanted`, and return all that it remembers."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                state = state_of(node.folder / "datastore")
                if all(state.get(name) == value for name, value in wanted.items()):
                    return state
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not {wanted}: {state_of(node.folder / 'datastore')}\n{node.log}")


def child_of(node: NodeProcess) -> psutil.Process:
    """Return the node's own process, below its supervisor."""
    (child,) = [one for one in psutil.Process(node.pid).children() if "run" in one.cmdline()]
    return child


def release_of(node: NodeProcess) -> str:
    """Return the release whose machine code the node has loaded; "" for the installed program."""
    (core,) = {one.path for one in child_of(node).memory_maps() if "_native" in one.path}
    return Path(core).parent.parent.name if "releases" in core else ""


async def peer_of(node: NodeProcess) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{node.api}/id") as answer:
        told = await answer.json()
    peer: str = told["peer_id"]
    return peer


async def test_a_good_release_is_taken_once_the_request_under_way_has_ended(nodes: Nodes, publisher: Publisher) -> None:
    async with (
        MockModelServer(Plan(events=EVENTS, gap_ms=100)) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as http,
    ):
        node = upgrading(nodes, publisher, ("P", "m", server.chat_url))
        await node.start()
        assert release_of(node) == ""
        asking = asyncio.create_task(http.post(f"{node.api}/chat/completion/proxy", json=CHAT))
        seen = await server.next_request()
        publisher.publish("9.0.0")
        state = await until(node, pending="9.0.0")
        assert state["attempts"] == 0
        assert not seen.finished
        answer = await asking
        body = await answer.read()
        assert body.count(b"data: ") == EVENTS + 1
        assert body.endswith(DONE)
    state = await until(node, current="9.0.0")
    assert (state["pending"], state["bad"], state["previous"]) == ("", {}, "")
    assert release_of(node) == "9.0.0"
    assert await peer_of(node) == node.peer
    assert "release 9.0.0 is healthy" in node.log
    assert await node.stop() == 0


async def test_the_next_start_goes_on_with_the_release_and_the_second_upgrade_keeps_two(
    nodes: Nodes, publisher: Publisher
) -> None:
    node = upgrading(nodes, publisher)
    releases = node.folder / "datastore/upgrade/releases"
    for version in ("9.0.0", "9.0.1", "9.1.0"):
        publisher.publish(version)
        if not node.running:
            await node.start()
        await until(node, current=version)
    assert sorted(path.name for path in releases.glob("*/*")) == ["9.0.1", "9.1.0"]
    assert await node.stop() == 0
    await node.start()
    assert release_of(node) == "9.1.0"


@pytest.mark.parametrize(
    ("fault", "reason", "waits"),
    [
        pytest.param(CRASHES, "it ended with status 3", {}, id="crashes"),
        pytest.param(CRASHES_LATER, "it ended with status 4", {"Probation": "4s"}, id="crashes during its probation"),
        pytest.param(SILENT, "its API did not answer within 3 s", {"HealthTimeout": "3s"}, id="never answers"),
    ],
)
async def test_a_release_that_does_not_work_is_rolled_back_and_not_tried_again(
    nodes: Nodes, publisher: Publisher, fault: dict[str, str], reason: str, waits: dict[str, str]
) -> None:
    node = upgrading(nodes, publisher, **waits)
    await node.start()
    publisher.publish("9.0.0", fault=fault)
    refusal = f"9.0.0 is not tried again: {reason}. Wait for the next release"
    state = await until(node, bad={"9.0.0": reason}, outcome=refusal)
    await node.ready()
    assert (state["current"], state["pending"]) == ("", "")
    assert release_of(node) == ""
    assert node.log.count("trying release 9.0.0") == 1
    assert f"release 9.0.0 is given up: {reason}" in node.log


async def test_after_a_rollback_the_former_release_runs_and_the_next_is_taken(
    nodes: Nodes, publisher: Publisher
) -> None:
    publisher.publish("9.0.0")
    node = upgrading(nodes, publisher)
    await node.start()
    await until(node, current="9.0.0")
    publisher.publish("9.1.0", fault=CRASHES)
    await until(node, current="9.0.0", bad={"9.1.0": "it ended with status 3"})
    await node.ready()
    assert release_of(node) == "9.0.0"
    publisher.publish("9.1.1")
    await until(node, current="9.1.1")
    assert release_of(node) == "9.1.1"


async def test_a_trial_that_is_cut_short_is_repeated_once_and_then_given_up(nodes: Nodes, publisher: Publisher) -> None:
    node = upgrading(nodes, publisher, HealthTimeout="60s")
    await node.start()
    publisher.publish("9.0.0", fault=SILENT)
    for attempts in (1, 2):
        if not node.running:
            await node.start(wait=False)
        await until(node, pending="9.0.0", attempts=attempts)
        await node.kill()  # as a power cut does
    await node.start()
    state = await until(node, bad={"9.0.0": "its trial came to no end 2 times"})
    assert (state["current"], state["pending"]) == ("", "")
    assert release_of(node) == ""


async def test_being_stopped_during_a_trial_does_not_count_against_the_release(
    nodes: Nodes, publisher: Publisher
) -> None:
    node = upgrading(nodes, publisher, Probation="60s")
    await node.start()
    publisher.publish("9.0.0")
    for _ in range(3):
        if not node.running:
            await node.start()
        await until(node, pending="9.0.0", attempts=1)
        await node.ready()
        assert await node.stop() == 0
        state = state_of(node.folder / "datastore")
        assert (state["pending"], state["attempts"], state["bad"]) == ("9.0.0", 0, {})


async def test_what_is_tampered_with_changes_nothing(nodes: Nodes, publisher: Publisher) -> None:
    archive = publisher.publish("9.0.0")
    manifest = publisher.source / "aicn-release.manifest"
    good = manifest.read_bytes()
    node = upgrading(nodes, publisher)

    manifest.write_bytes(good.replace(b'"0.0.0"', b'"0.0.1"'))
    await node.start()
    process = child_of(node)
    await node.until_logged("not signed with the key")

    manifest.write_bytes(good)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    await node.until_logged("is not the file that the signed manifest speaks of")

    state = state_of(node.folder / "datastore")
    assert (state["current"], state["pending"], state["bad"]) == ("", "", {})
    assert child_of(node) == process
    assert release_of(node) == ""
    assert not (node.folder / "datastore/upgrade/releases").exists()


async def test_a_state_that_cannot_be_read_leaves_the_installed_program(nodes: Nodes, publisher: Publisher) -> None:
    node = upgrading(nodes, publisher)
    home = node.folder / "datastore/upgrade"
    home.mkdir()
    (home / "state.json").write_text('{"current": "9.', encoding="utf-8")
    await node.start()
    assert release_of(node) == ""
    assert "remove it to begin anew" in node.log


async def test_a_state_that_cannot_be_written_leaves_what_runs(nodes: Nodes, publisher: Publisher) -> None:
    publisher.publish("9.0.0")
    node = upgrading(nodes, publisher)
    await node.start()
    await until(node, current="9.0.0")
    await node.stop()
    publisher.publish("9.1.0")
    assert aicn("upgrade", "apply", "-c", node.config_path, cwd=node.folder).stdout == "9.1.0 is ready\n"
    (node.folder / "datastore/upgrade/.state.json.tmp/in the way").mkdir(parents=True)
    await node.start()
    assert release_of(node) == "9.0.0"
    assert "cannot be written" in node.log
    assert "trying release 9.1.0" not in node.log


async def test_a_supervisor_that_is_killed_takes_the_node_with_it(nodes: Nodes, publisher: Publisher) -> None:
    node = upgrading(nodes, publisher)
    await node.start()
    child = child_of(node)
    await node.kill()
    await asyncio.to_thread(psutil.wait_procs, [child], 15)
    assert not child.is_running()


async def test_a_signal_to_the_whole_group_lets_the_request_under_way_end(nodes: Nodes, publisher: Publisher) -> None:
    async with MockModelServer(Plan(events=20, gap_ms=50)) as server, aiohttp.ClientSession() as http:
        node = upgrading(nodes, publisher, ("P", "m", server.chat_url))
        await node.start()
        asking = asyncio.create_task(http.post(f"{node.api}/chat/completion/proxy", json=CHAT))
        await server.next_request()
        # As service managers do: to every process that there is.
        child_of(node).send_signal(signal.SIGTERM)
        assert node.process is not None
        node.process.terminate()
        assert (await (await asking).read()).endswith(DONE)
        assert await node.process.wait() == 0


async def test_a_node_whose_upgrades_are_off_is_one_process_and_asks_nobody(nodes: Nodes, publisher: Publisher) -> None:
    publisher.publish("9.0.0")
    node = nodes.make("input", AICN=publisher.section())
    await node.start()
    assert psutil.Process(node.pid).children() == []
    assert not (node.folder / "datastore/upgrade").exists()


async def test_a_node_that_fails_by_itself_ends_with_its_own_status(nodes: Nodes, publisher: Publisher) -> None:
    node = upgrading(nodes, publisher)
    taken = json.loads(node.config_path.read_text(encoding="utf-8"))
    other = nodes.make("input")
    taken["API"]["Addr"] = f"127.0.0.1:{other.api_port}"
    node.config_path.write_text(json.dumps(taken), encoding="utf-8")
    await other.start()
    await node.start(wait=False)
    assert node.process is not None
    assert await node.process.wait() == 1
    assert "cannot listen on" in node.log

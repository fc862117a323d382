"""`aicn models`, with a node that runs and with one that does not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support import command_line, model_servers
from support.mock_model_server import MockModelServer
from support.model_servers import LOCKED, serving
from support.processes import NodeProcess, Nodes


async def models(*words: str | Path, status: int = 0) -> tuple[str, str]:
    """Run `aicn models …`; return what it wrote to its output and to its error."""
    done = await asyncio.to_thread(command_line.aicn, "models", *words, cwd=Path.cwd())
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


async def listed(node: NodeProcess) -> list[dict[str, Any]]:
    out, _ = await models("list", node.config_path, "--json")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("state", ["serving", "stopped"])
async def test_a_model_is_added_changed_and_removed(tmp_path: Path, state: str) -> None:
    async with MockModelServer() as server, Nodes(tmp_path) as nodes:
        node = await nodes.worker(start=state == "serving")
        path = node.config_path
        out, _ = await models("add", path, "P/org/llama", server.chat_url, "--server-model", "llama3")
        assert out == "P/org/llama is registered.\n"
        (one,) = await listed(node)
        wanted = {
            "project": "P",
            "model": "org/llama",
            "cid": "",
            "api": server.chat_url,
            "type": 0,
            "server_model": "llama3",
            "paused": False,
            "max_concurrent": 0,
            "in_flight": 0,
            "state": state,
        }
        assert {name: one[name] for name in wanted} == wanted
        await models("cap", path, "P/org/llama", "3")
        await models("rename", path, "P/org/llama", "llama")
        assert (await models("drain", path, "P/llama"))[0] == "P/llama is paused, and nothing is under way.\n"
        (one,) = await listed(node)
        assert (one["model"], one["server_model"], one["max_concurrent"]) == ("llama", "llama3", 3)
        assert (one["paused"], one["state"]) == (True, "paused")
        await models("resume", path, "P/llama")
        await models("pause", path, "P/llama")
        await models("resume", path, "P/llama")
        table, _ = await models("list", path)
        title, line = table.splitlines()
        assert title.split() == ["MODEL", "TYPE", "STATE", "AT", "WORK", "URL"]
        assert line.split() == ["P/llama", "chat", state, "0", "of", "3", server.chat_url, "as", "llama3"]
        (project,) = node.config()["AIProjects"]
        assert [each["Model"] for each in project["Models"]] == ["llama"]
        await models("remove", path, "P/llama")
        assert await listed(node) == []


@pytest.mark.parametrize("starts", [True, False], ids=["running", "stopped"])
async def test_what_cannot_be_done_is_told_in_one_line(tmp_path: Path, *, starts: bool) -> None:
    async with Nodes(tmp_path) as nodes:
        node = await nodes.worker(start=starts)
        path = node.config_path
        for words, message in (
            (("add", path, "P/m", "http://192.0.2.1/v1/chat/completions"), "not on the same machine"),
            (("remove", path, "P/m"), "the node has no model P/m"),
            (("pause", path, "P/m"), "can not find in registered project and model"),
            (("rename", path, "P/m", "n"), "can not find in registered project and model"),
        ):
            out, err = await models(*words, status=1)
            assert out == ""
            (line,) = err.splitlines()
            assert message in line
        _, err = await models("rename", path, "P/m", "P/n", status=2)
        assert err == "aicn: NEW is the name without its project; write 'n'\n"
        _, err = await models("pause", path, "m", status=2)
        assert err == "aicn: 'm' names no model; write PROJECT/MODEL\n"


async def test_model_servers_are_found_and_registered(tmp_path: Path) -> None:
    documents = model_servers.ollama("llama3:latest", "secret")
    async with serving(documents) as url, Nodes(tmp_path) as nodes:
        port = url.rpartition(":")[2]
        discovery = {"Ports": [int(port)], "Exclude": ["secret"], "Names": {"llama3:latest": "llama3"}}
        node = await nodes.worker(AICN={"Discovery": discovery})
        out, _ = await models("discover", "--port", port, "--json")
        found = {one["url"]: one for one in map(json.loads, out.splitlines())}[url]
        assert found["software"] == "ollama"
        assert [model["model"] for model in found["models"]] == ["llama3:latest", "secret"]
        table, _ = await models("discover", node.config_path)
        lines = [line.split() for line in table.splitlines() if port in line]
        assert lines == [
            ["ollama", "llama3:latest", "chat", f"{url}/v1/chat/completions"],
            ["ollama", "secret", "chat", f"{url}/v1/chat/completions", "left", "out", "by", "AICN.Discovery"],
        ]
        documents["/api/tags"] = LOCKED
        table, _ = await models("discover", node.config_path)
        (line,) = [line for line in table.splitlines() if port in line]
        assert "wants a key, which nodes do not have" in line
        documents.update(model_servers.ollama("llama3:latest", "secret"))
        for _ in range(2):
            await models("discover", node.config_path, "--register", "--project", "home")
        registered = [(one["project"], one["model"], one["server_model"]) for one in await listed(node)]
        assert ("home", "llama3", "llama3:latest") in registered
        assert not [one for one in registered if "secret" in one]
        assert len(set(registered)) == len(registered)
        _, err = await models("discover", "--register", status=2)
        assert "name the node's configuration file" in err
        _, err = await models("discover", node.config_path, "--register", status=2)
        assert "--project NAME" in err


async def test_another_node_on_the_port_is_not_changed(tmp_path: Path) -> None:
    async with MockModelServer() as server, Nodes(tmp_path) as nodes:
        other = await nodes.worker()
        config = other.config()
        stopped = nodes.make("worker", API=config["API"])
        await models("add", stopped.config_path, "P/m", server.chat_url)
        assert [one["state"] for one in await listed(stopped)] == ["stopped"]
        assert await listed(other) == []

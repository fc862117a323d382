"""Requests made from the OpenAPI document, good and broken, against real nodes: no answer that it does not tell of.

Some failures have status 500 because programs of the network expect it so; each carries a `code`, and the document
lists which ones a route may answer with. A 500 without such a code is one that nobody foresaw.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import hypothesis
import pytest
import schemathesis
import schemathesis.core.result
from hypothesis import HealthCheck, Phase
from schemathesis.checks import load_all_checks

from aicn.api.operation import Failure, for_all
from aicn.api.operations import OPERATIONS
from support.mock_model_server import MockModelServer
from support.processes import NodeProcess, Nodes

PROJECT = "P"
MODEL = "m"
EXAMPLES = 25
"""Good requests for each route of an Input, and as many bad ones; most have real names in them."""

WORKER_EXAMPLES = 4
"""The same for a Worker, which refuses some routes that an Input answers."""

RELAYED = "x-aicn-node"
"""Tells that the model server answered, not the node."""

load_all_checks()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    async with MockModelServer() as server, Nodes(tmp_path) as nodes:
        entry = await nodes.input()
        worker = await nodes.worker(entry, models=[(PROJECT, MODEL, server.chat_url)])
        await nodes.until_seen(entry, PROJECT, MODEL, worker)
        yield entry, worker


async def document_of(entry: NodeProcess) -> dict[str, Any]:
    base = entry.api.removesuffix("/api/v0")
    async with aiohttp.ClientSession() as http, http.get(f"{base}/openapi.json") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


def complaint(case: Any, response: Any) -> str | None:
    """Return why the document does not tell of this answer, or None if it does."""
    if response.headers.get(RELAYED) is not None:
        return None
    described = for_path(case.path, response.status_code)
    if response.status_code in (404, 405) and not described:
        return "a route that is described is not there"
    try:
        case.validate_response(
            response,
            checks=[
                schemathesis.checks.CHECKS.get_one(name)
                for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
            ],
        )
    except (schemathesis.errors.SchemathesisError, BaseExceptionGroup) as error:
        return str(error)
    if response.status_code >= 500 and not foreseen(response.json(), described):
        return f"nobody foresaw {response.status_code}"
    return None


def foreseen(told: dict[str, Any], described: list[Failure]) -> bool:
    """Return whether a refusal has a code of those that are described; Anthropic's have none."""
    error = told.get("error")
    code = error.get("code", described[0].code) if isinstance(error, dict) and described else told.get("code")
    return code in {one.code for one in described}


def for_path(path: str, status: int) -> list[Failure]:
    (operation,) = (each for each in OPERATIONS if each.path == path)
    return [one for one in for_all(operation) if one.status == status]


def with_real_names(case: Any, peer: str, choose: random.Random) -> None:
    """Put names of the network into a request, so that it gets past the first check."""
    names = {"node_id": peer, "project": PROJECT, "model": MODEL, "cid": ""}
    for holder in (case.body, case.query, case.path_parameters):
        if isinstance(holder, dict):
            holder.update({name: value for name, value in names.items() if name in holder and choose.random() < 0.8})


def ask(document: dict[str, Any], base: str, peer: str, examples: int) -> tuple[set[int], int]:
    """Make all requests; return the statuses seen and the number of requests.

    Raises:
        AssertionError: an answer is not described.
    """
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = base
    statuses: set[int] = set()
    asked = 0
    choose = random.Random(7)  # noqa: S311 - the same requests each time
    for result in schema.get_all_operations():
        assert isinstance(result, schemathesis.core.result.Ok)
        operation = result.ok()
        # Both modes: what the document allows, and what it forbids.
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @hypothesis.settings(
                max_examples=examples,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                nonlocal asked
                if choose.random() < 0.6:
                    with_real_names(case, peer, choose)
                response = case.call(timeout=30)
                asked += 1
                statuses.add(response.status_code)
                reason = complaint(case, response)
                assert reason is None, (
                    f"{case.as_curl_command()}\n{response.status_code} {response.content[:500]}\n{reason}"
                )

            try:
                one()
            except hypothesis.errors.Unsatisfiable:
                # A route without parameters or body: nothing about it can be wrong.
                assert mode is schemathesis.GenerationMode.NEGATIVE
    return statuses, asked


async def test_every_answer_is_described(network: tuple[NodeProcess, NodeProcess]) -> None:
    entry, worker = network
    document = await document_of(entry)
    base = entry.api.removesuffix("/api/v0")
    statuses, asked = await asyncio.to_thread(ask, document, base, worker.peer, EXAMPLES)
    base = worker.api.removesuffix("/api/v0")
    await asyncio.to_thread(ask, document, base, entry.peer, WORKER_EXAMPLES)
    assert asked > 10 * len(OPERATIONS)
    assert {200, 400, 500} <= statuses, "requests of every kind were made"
    assert entry.running
    assert worker.running
    assert "Traceback" not in entry.log + worker.log

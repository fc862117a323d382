"""Workers and model servers that fail before the first content: another Worker answers, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from support.hosts import until
from support.mock_model_server import DONE, MockModelServer, Plan, Seen, completion, event
from support.processes import NodeProcess, Nodes

PROJECT = "P"
WORKERS = 3
CASES = 96
"""Each test asks for models of its own: what nodes have learned of an instance is of no use to the next one."""

DEADLINE_S = 20.0
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
GOOD = Plan(events=2)


@dataclass(slots=True)
class Trio:
    """An Input and three Workers, each beside its own model server."""

    nodes: Nodes
    entry: NodeProcess
    workers: tuple[NodeProcess, ...]
    servers: tuple[MockModelServer, ...]
    http: aiohttp.ClientSession
    models: Iterator[str]

    def plan(self, plan: Plan, *first: Plan) -> None:
        """Answer with `first`, whichever server is asked, and from then on with `plan`."""
        once = list(first)
        for server in self.servers:
            server.forget()
            server.plan = plan
            server.once = once

    async def ask(self, model: str, *, stream: bool = True) -> tuple[int, bytes, int]:
        async with self.http.post(self.url, json=self.chat(model, stream=stream)) as answer:
            return answer.status, await answer.read(), int(answer.headers.get("x-aicn-attempts", 0))

    def chat(self, model: str, *, stream: bool = True) -> dict[str, Any]:
        messages = [{"role": "user", "content": "hi"}]
        return {"project": PROJECT, "model": model, "messages": messages, "stream": stream}

    @property
    def url(self) -> str:
        return f"{self.entry.api}/chat/completion/proxy"

    @property
    def seen(self) -> list[Seen]:
        return [seen for server in self.servers for seen in server.seen]

    async def next_request(self) -> tuple[int, Seen]:
        """Return which model server gets the next request, and the request."""
        waits = [asyncio.create_task(server.next_request(DEADLINE_S)) for server in self.servers]
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        first = done.pop()
        return waits.index(first), first.result()


@contextlib.asynccontextmanager
async def running_trio(folder: Path, **routing: Any) -> AsyncIterator[Trio]:
    """Start everything, the Input with `AICN.Routing` as given, and wait until it sees every Worker."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(MockModelServer()) for _ in range(WORKERS)]
        nodes = await stack.enter_async_context(Nodes(folder))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)))
        entry = nodes.make("input", AICN={"Routing": routing})
        names = [f"m{number}" for number in range(CASES)]
        workers = [
            nodes.make(
                "worker", bootstrap=[entry.multiaddr], models=[(PROJECT, name, server.chat_url) for name in names]
            )
            for server in servers
        ]
        await asyncio.gather(*(node.start() for node in (entry, *workers)))
        await nodes.until_seen(entry, PROJECT, names[-1], *workers)
        yield Trio(nodes, entry, tuple(workers), tuple(servers), http, iter(names))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trio]:
    async with running_trio(tmp_path_factory.mktemp("trio"), RetryBudget=1.0) as trio:
        yield trio


@pytest_asyncio.fixture(loop_scope="module")
async def model(module_trio: Trio) -> str:
    """A model that nobody has asked for, and a request more, so that there is budget for its repetitions."""
    module_trio.plan(GOOD)
    await module_trio.ask(next(module_trio.models))
    return next(module_trio.models)


def _answer(model: str, *, stream: bool) -> bytes:
    return event(model, 0) + event(model, 1) + DONE if stream else completion(model)


FAILURES = [
    pytest.param(Plan(die_at_once=True), id="reset before the head"),
    *(pytest.param(Plan(status=status, body=b"{}"), id=str(status)) for status in (429, 500, 502, 503, 504)),
    pytest.param(Plan(status=404, body=b'{"error":{"code":"model_not_found"}}'), id="unloaded model"),
]
STREAM_FAILURES = [
    pytest.param(Plan(die_after=0), id="death behind the head"),
    pytest.param(Plan(chunks=(ROLE,), die_after=1), id="death behind the role"),
    pytest.param(Plan(chunks=(ROLE, b": ping\n\n"), die_after=2), id="death behind a comment"),
    pytest.param(Plan(chunks=(ROLE,), done=False), id="end behind the role"),
    pytest.param(Plan(chunks=(ROLE, b'data: {"error":{"message":"m","code":503}}\n\n')), id="error event"),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
async def test_failure_before_the_head_is_left_for_another(
    module_trio: Trio, model: str, failure: Plan, *, stream: bool
) -> None:
    module_trio.plan(GOOD, failure, failure)
    assert await module_trio.ask(model, stream=stream) == (200, _answer(model, stream=stream), 3)
    assert [len(server.seen) for server in module_trio.servers] == [1] * WORKERS


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("failure", STREAM_FAILURES)
async def test_failure_before_the_first_content_is_left_for_another(
    module_trio: Trio, model: str, failure: Plan
) -> None:
    module_trio.plan(GOOD, failure, failure)
    assert await module_trio.ask(model) == (200, _answer(model, stream=True), 3)
    assert [len(server.seen) for server in module_trio.servers] == [1] * WORKERS


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422])
async def test_users_error_is_tried_nowhere_else(module_trio: Trio, model: str, status: int) -> None:
    refusal = json.dumps({"error": {"message": "No such thing", "type": "invalid_request_error"}}).encode()
    module_trio.plan(GOOD, Plan(status=status, body=refusal))
    # Without a stream, since the wish for its usage may be what a model server refuses.
    assert await module_trio.ask(model, stream=False) == (status, refusal, 1)
    assert len(module_trio.seen) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_last_words_are_handed_on_when_all_have_failed(module_trio: Trio, model: str) -> None:
    busy = Plan(status=429, body=b'{"error":{"message":"slow down"}}', headers={"Retry-After": "7"})
    module_trio.plan(busy, Plan(status=503, body=b"{}"))
    async with module_trio.http.post(module_trio.url, json=module_trio.chat(model, stream=False)) as answer:
        assert (answer.status, answer.headers["retry-after"], answer.headers["x-aicn-attempts"]) == (429, "7", "3")
        assert (await answer.json())["error"]["message"] == "slow down"


@pytest.mark.asyncio(loop_scope="module")
async def test_break_after_the_first_content_is_told(module_trio: Trio, model: str) -> None:
    module_trio.plan(GOOD, Plan(chunks=(ROLE, event(model, 0), b""), gap_ms=50, die_after=3))
    status, body, attempts = await module_trio.ask(model)
    assert (status, attempts) == (200, 1)
    assert body.startswith(ROLE + event(model, 0))
    assert DONE not in body
    assert len(module_trio.seen) == 1


async def test_worker_killed_behind_the_role_is_left_for_another(tmp_path: Path) -> None:
    async with running_trio(tmp_path) as trio:
        model = next(trio.models)
        trio.plan(GOOD, Plan(chunks=(ROLE, event(model, 0)), gap_ms=1e6))
        asking = asyncio.create_task(trio.ask(model))
        index, seen = await trio.next_request()
        await until(lambda: bool(seen.writes))
        await trio.workers[index].kill()
        assert await asking == (200, _answer(model, stream=True), 2)


async def test_connect_failure_is_left_for_another(tmp_path: Path) -> None:
    async with running_trio(tmp_path) as trio:
        model = next(trio.models)
        trio.plan(GOOD)
        for server in trio.servers[:-1]:
            await server.stop()
        answers = [await trio.ask(model, stream=stream) for stream in (True, False) * 4]
        expected = [_answer(model, stream=stream) for stream in (True, False) * 4]
        assert [(status, body) for status, body, _ in answers] == [(200, body) for body in expected]
        assert max(attempts for _, _, attempts in answers) <= WORKERS


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
async def test_where_all_fail_it_is_told_how_many_were_tried(module_trio: Trio, model: str, *, stream: bool) -> None:
    module_trio.plan(Plan(die_at_once=True))
    status, _, attempts = await module_trio.ask(model, stream=stream)
    assert (status, attempts) == (500, WORKERS)

    def told() -> list[str]:
        lines = module_trio.entry.log.splitlines()
        return [line for line in lines if f" model={model} cid=" in line and " status=500 " in line]

    await until(lambda: bool(told()))
    assert f" attempts={WORKERS} outcome=" in told()[0]


async def test_worker_that_goes_on_failing_is_left_alone(tmp_path: Path) -> None:
    async with running_trio(tmp_path, RetryBudget=1.0) as trio:
        model = next(trio.models)
        trio.plan(GOOD)
        broken = trio.servers[0]
        broken.plan = Plan(status=500, body=b"{}")
        for _ in range(10):
            answers = await asyncio.gather(*(trio.ask(model) for _ in range(10)))
            assert [status for status, _, _ in answers] == [200] * len(answers)
        # Those that were under way when it began to fail, and a trial now and then.
        assert 1 <= len(broken.seen) <= 20
        assert len(trio.seen) == 100 + len(broken.seen)


@pytest.mark.parametrize("status", [429, 500])
async def test_node_whose_many_instances_all_fail_costs_no_request(tmp_path: Path, status: int) -> None:
    """The next attempt goes to another node, and after some instances the node is left alone as a whole."""
    async with (
        MockModelServer() as broken,
        MockModelServer() as whole,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        entry, model = nodes.make("input"), "m"
        told = [{"Model": model, "API": broken.chat_url, "Type": 0, "CID": f"gpu{number}"} for number in range(8)]
        many = nodes.make("worker", bootstrap=[entry.multiaddr], AIProjects=[{"Project": PROJECT, "Models": told}])
        one = nodes.make("worker", bootstrap=[entry.multiaddr], models=[(PROJECT, model, whole.chat_url)])
        await asyncio.gather(*(node.start() for node in (entry, many, one)))
        await nodes.until_seen(entry, PROJECT, model, many, one)
        trio = Trio(nodes, entry, (many, one), (broken, whole), http, iter(()))
        trio.plan(GOOD)
        broken.plan = Plan(status=status, body=b"{}")
        for _ in range(8):
            answers = await asyncio.gather(*(trio.ask(model, stream=stream) for stream in (True, False) * 2))
            expected = [(200, _answer(model, stream=stream)) for stream in (True, False) * 2]
            assert [(got, body) for got, body, _ in answers] == expected
            assert {attempts for _, _, attempts in answers} <= {1, 2}
        assert broken.seen, "it was worth a try"


@pytest.mark.parametrize(
    ("routing", "attempts"),
    [
        pytest.param({"MaxAttempts": 1}, 1, id="MaxAttempts"),
        pytest.param({"MaxAttempts": 2}, 2, id="MaxAttempts of two"),
        pytest.param({"RetryBudget": 0}, 1, id="RetryBudget"),
    ],
)
async def test_attempts_end_where_the_configuration_says(
    tmp_path: Path, routing: dict[str, Any], attempts: int
) -> None:
    async with running_trio(tmp_path, **routing) as trio:
        trio.plan(Plan(status=503, body=b"{}"))
        assert await trio.ask(next(trio.models), stream=False) == (503, b"{}", attempts)
        assert len(trio.seen) == attempts


async def test_time_to_the_first_content_ends_where_the_configuration_says(tmp_path: Path) -> None:
    async with running_trio(tmp_path, TotalTimeout="1s") as trio:
        trio.plan(Plan(hang=True))
        status, body, _ = await trio.ask(next(trio.models))
        assert status == 500
        assert b"within 1 s" in body
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(seen.gone.wait() for seen in trio.seen))


@pytest.mark.parametrize("silence", [Plan(hang=True), Plan(first_event_ms=600_000)], ids=["no head", "no event"])
async def test_a_node_without_a_first_byte_is_left_when_the_configuration_says(tmp_path: Path, silence: Plan) -> None:
    async with running_trio(tmp_path, FirstByteTimeout="500ms") as trio:
        model = next(trio.models)
        trio.plan(GOOD, silence)
        assert await trio.ask(model) == (200, _answer(model, stream=True), 2)
        # What comes whole takes as long as it takes.
        trio.plan(GOOD, Plan(first_byte_ms=1_000))
        assert await trio.ask(model, stream=False) == (200, _answer(model, stream=False), 1)


async def test_slow_worker_is_overtaken_where_the_configuration_says(tmp_path: Path) -> None:
    async with running_trio(tmp_path, Hedge=True) as trio:
        model = next(trio.models)
        trio.plan(GOOD)
        # Who usually takes how long must be known of each, and requests must have saved up for one more.
        await asyncio.gather(*(trio.ask(model) for _ in range(20 * WORKERS)))
        assert all(server.seen for server in trio.servers)
        trio.plan(GOOD, Plan(hang=True))
        assert await trio.ask(model) == (200, _answer(model, stream=True), 2)
        slow = next(seen for seen in trio.seen if not seen.finished)
        async with asyncio.timeout(DEADLINE_S):
            await slow.gone.wait()


REQUESTS = 1_200
KILLS = 4
CLIENTS = 12
"""With answers of 100 ms: a part of what three Workers and an Input on two cores can do."""

LASTING_MS = 100.0


async def test_killed_workers_cost_no_request_that_had_not_begun(tmp_path: Path) -> None:
    """Each of the Workers in turn is killed under load and started again: of 1,000 requests 999 are answered."""
    ended: Counter[str] = Counter()
    async with running_trio(tmp_path) as trio:
        model = next(trio.models)
        trio.plan(Plan(events=4, first_byte_ms=LASTING_MS / 2, gap_ms=LASTING_MS / 8))
        killed = asyncio.Event()

        async def kill() -> None:
            for number in range(KILLS):
                worker = trio.workers[number % WORKERS]
                before = ended.total()
                await worker.kill()
                await worker.start()
                await trio.nodes.until_seen(trio.entry, PROJECT, model, *trio.workers)
                await _until_ended(ended, before + REQUESTS // (2 * KILLS))
            killed.set()

        async def use(streams: Iterator[bool]) -> None:
            while not killed.is_set() or ended.total() < REQUESTS:
                ended[await _how_it_ends(trio, model, stream=next(streams))] += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for _ in range(CLIENTS):
                group.create_task(use(itertools.cycle([True, False])))
    not_begun = ended.total() - ended["broke after its first content"]
    assert not_begun >= 1_000
    assert ended["answered"] >= 0.999 * not_begun, ended


async def _until_ended(ended: Counter[str], enough: int) -> None:
    async with asyncio.timeout(60):
        while ended.total() < enough:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.02)


async def _how_it_ends(trio: Trio, model: str, *, stream: bool) -> str:
    async with trio.http.post(trio.url, json=trio.chat(model, stream=stream)) as answer:
        body = await answer.read()
    if answer.status != 200:
        return f"{answer.status} {body[:200]!r}"
    if not stream or body.endswith(DONE):
        return "answered"
    return "broke after its first content" if b"token0" in body else f"broke before: {body[:200]!r}"

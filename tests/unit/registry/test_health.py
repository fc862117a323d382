"""Servers that do not answer lose their models, and have them again when they answer; who works is not asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import BackendBroken, BackendError, BackendTimeout, BackendUnreachable
from aicn.registry import HealthMonitor, Model, ModelRegistry
from support.hosts import until

INTERVAL_S = 10.0
ONE = "http://127.0.0.1:8001/v1/chat/completions"
ONE_TOO = "http://127.0.0.1:8001/v1/images/generations"
OTHER = "http://127.0.0.1:8002/v1/chat/completions"


def model(name: str, url: str) -> Model:
    return Model.of("P", name, url, 0, "")


class Servers:
    """Model servers that answer as the test says, and how often each was asked."""

    def __init__(self) -> None:
        self.failures: dict[str, Exception] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.told = 0
        self.heard_of: asyncio.Event = asyncio.Event()

    async def probe(self, url: str) -> None:
        self.asked.append(url)
        self.heard_of.set()
        if url in self.silent:
            await asyncio.Event().wait()
        if url in self.failures:
            raise self.failures[url]

    def changed(self) -> None:
        self.told += 1


async def save(_: tuple[Model, ...]) -> None:
    return


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(servers: Servers) -> ModelRegistry:
    return ModelRegistry([model("a", ONE), model("b", OTHER)], save=save, on_change=servers.changed)


@pytest.fixture
def monitor(registry: ModelRegistry, servers: Servers, clock: ManualClock) -> HealthMonitor:
    return HealthMonitor(registry, servers.probe, interval_s=INTERVAL_S, clock=clock, draw=lambda: 0.0)


REFUSED = BackendUnreachable("nobody listens", refused=True)


def names(registry: ModelRegistry) -> list[str]:
    return [each.model for each in registry.offered()]


async def test_each_server_is_asked_once_an_interval(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    await registry.register(model("c", ONE_TOO))
    await monitor.look()
    assert len(servers.asked) == 2, "two models of one server are one question"
    clock.advance(INTERVAL_S - 0.1)
    await monitor.look()
    assert len(servers.asked) == 2
    clock.advance(0.2)
    await monitor.look()
    assert len(servers.asked) == 4


async def test_a_server_that_answers_requests_is_not_asked(
    monitor: HealthMonitor, servers: Servers, clock: ManualClock
) -> None:
    await monitor.look()
    servers.asked.clear()
    for _ in range(5):
        clock.advance(INTERVAL_S / 2)
        monitor.answered(ONE_TOO)
        await monitor.look()
    assert set(servers.asked) == {OTHER}


async def test_a_dead_server_is_withdrawn_at_once_and_comes_back(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    servers.failures[ONE] = BackendUnreachable("nobody listens", refused=True)
    await monitor.look()
    assert names(registry) == ["b"]
    assert servers.told == 1
    with pytest.raises(BackendUnreachable, match="'a'"):
        registry.find("P", "a")
    clock.advance(INTERVAL_S)
    await monitor.look()
    assert servers.told == 1, "what is withdrawn is not withdrawn again"
    del servers.failures[ONE]
    clock.advance(INTERVAL_S)
    await monitor.look()
    assert names(registry) == ["a", "b"]
    assert servers.told == 2
    assert registry.find("P", "a").api == ONE


@pytest.mark.parametrize("failure", [BackendBroken("it broke off"), BackendTimeout("it is slow"), TimeoutError()])
async def test_a_slow_server_has_a_second_chance(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock, failure: Exception
) -> None:
    servers.failures[ONE] = failure
    for turn in range(defaults.HEALTH_MISSES):
        assert names(registry) == ["a", "b"], turn
        await monitor.look()
        clock.advance(INTERVAL_S)
    assert names(registry) == ["b"]


async def test_one_answer_between_two_failures_saves_a_server(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    for failure in (BackendBroken("it broke off"), None, BackendBroken("it broke off")):
        servers.failures = {} if failure is None else {ONE: failure}
        await monitor.look()
        clock.advance(INTERVAL_S)
    assert names(registry) == ["a", "b"]


async def test_a_server_that_works_may_be_slow(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    servers.failures[ONE] = BackendTimeout("it does one thing at a time")
    with registry.in_flight.reserve(registry.find("P", "a")):
        for _ in range(3):
            await monitor.look()
            clock.advance(INTERVAL_S)
        assert names(registry) == ["a", "b"]


async def test_a_model_registered_later_shares_the_fate_of_its_server(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers
) -> None:
    servers.failures[ONE] = BackendUnreachable("nobody listens", refused=True)
    await monitor.look()
    await registry.register(model("c", ONE_TOO))
    assert names(registry) == ["b"]
    await registry.register(model("a", OTHER))
    assert names(registry) == ["a", "b"], "at another server it is another matter"


@pytest.fixture
async def running(monitor: HealthMonitor, servers: Servers) -> AsyncIterator[HealthMonitor]:
    task = asyncio.create_task(monitor.run())
    async with asyncio.timeout(5):
        await servers.heard_of.wait()
        servers.heard_of.clear()
        yield monitor
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_request_that_finds_nobody_has_the_server_withdrawn_at_once(
    monitor: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    await monitor.look()
    monitor.failed(ONE_TOO, REFUSED)
    assert (names(registry), servers.told) == (["b"], 1)
    assert monitor.fault(ONE) == "nobody listens"
    servers.asked.clear()
    clock.advance(defaults.HEALTH_REST_S)
    await monitor.look()
    assert servers.asked == [ONE], "out of turn: it may just have been started anew"
    assert names(registry) == ["a", "b"]


@pytest.mark.parametrize("failure", [BackendBroken("it broke off"), BackendUnreachable("it accepts nobody")])
async def test_a_request_that_breaks_off_has_the_server_asked_out_of_turn(
    running: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock, failure: BackendError
) -> None:
    servers.asked.clear()
    servers.failures[ONE] = REFUSED
    clock.advance(defaults.HEALTH_REST_S)
    running.failed(ONE, failure)
    assert names(registry) == ["a", "b"], "that alone says little"
    await servers.heard_of.wait()
    assert servers.asked == [ONE]
    await until(lambda: names(registry) == ["b"])


async def test_requests_that_break_off_in_crowds_are_one_question(
    monitor: HealthMonitor, servers: Servers, clock: ManualClock
) -> None:
    await monitor.look()
    servers.asked.clear()
    for _ in range(3):
        clock.advance(defaults.HEALTH_REST_S / 4)
        monitor.failed(ONE, BackendBroken("it broke off"))
        await monitor.look()
    assert servers.asked == []
    clock.advance(defaults.HEALTH_REST_S / 4)
    await monitor.look()
    await monitor.look()
    assert servers.asked == [ONE]


async def test_a_silent_server_keeps_no_other_from_being_asked(
    running: HealthMonitor, registry: ModelRegistry, servers: Servers, clock: ManualClock
) -> None:
    servers.silent.add(ONE)
    servers.asked.clear()
    clock.advance(INTERVAL_S)
    running.failed(ONE, BackendBroken("it broke off"))
    await until(lambda: len(servers.asked) == 2)
    servers.failures[OTHER] = REFUSED
    clock.advance(INTERVAL_S)
    running.failed(OTHER, BackendBroken("it broke off"))
    await until(lambda: names(registry) == ["a"])
    assert servers.asked.count(ONE) == 1, "who has a question before him is not asked the next"


async def test_chance_only_shortens_an_interval(registry: ModelRegistry, servers: Servers, clock: ManualClock) -> None:
    monitor = HealthMonitor(registry, servers.probe, interval_s=INTERVAL_S, clock=clock, draw=lambda: 1.0)
    await monitor.look()
    servers.asked.clear()
    clock.advance(INTERVAL_S * (1 - defaults.HEALTH_JITTER) - 0.1)
    await monitor.look()
    assert servers.asked == []
    clock.advance(0.2)
    await monitor.look()
    assert sorted(servers.asked) == [ONE, OTHER]


async def test_a_server_that_is_new_is_asked_at_once(
    running: HealthMonitor, registry: ModelRegistry, servers: Servers
) -> None:
    assert not running.fault("http://127.0.0.1:8003/")
    servers.asked.clear()
    await registry.register(model("new", "http://127.0.0.1:8003/v1/chat/completions"))
    await servers.heard_of.wait()
    assert servers.asked == ["http://127.0.0.1:8003/v1/chat/completions"]


@pytest.mark.parametrize("change", [lambda r: r.unregister("P", "a", ""), lambda r: r.unregister_project("P")])
async def test_what_is_gone_is_forgotten(
    monitor: HealthMonitor,
    registry: ModelRegistry,
    servers: Servers,
    clock: ManualClock,
    change: Callable[[ModelRegistry], asyncio.Future[bool]],
) -> None:
    servers.failures[ONE] = BackendUnreachable("nobody listens", refused=True)
    await monitor.look()
    await change(registry)
    clock.advance(INTERVAL_S)
    servers.asked.clear()
    await monitor.look()
    assert ONE not in servers.asked
    assert not monitor.fault(ONE), "who comes back begins anew"

"""Load on Workers as a simulation in virtual time: real selectors, real directories, and servers made of numbers."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from aicn.clock import ManualClock
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer
from aicn.routing import Reservations, Sample, SampleOutcome, Selector, Wanted

PROJECT, MODEL = ProjectName("P"), ModelName("m")
WANTED = Wanted(PROJECT, MODEL, ModelKind.CHAT)
TOKENS = 100
HEARTBEAT_S = 1.0


@dataclass(slots=True)
class Worker:
    """A server that works on one request after the other, as llama.cpp with one slot does."""

    name: PeerId
    first_s: float = 0.05
    token_s: float = 0.005
    lies: bool = False
    """Always says that it is idle."""
    broken_until_s: float = 0.0
    instances: int = 1
    """How many it tells of; they are all the same server."""
    refuses: bool = False
    """Whether it answers every request, at once, that it does not want it."""
    renames: bool = False
    """Whether it gives them new names with each heartbeat."""
    in_flight: int = 0
    free_at_s: float = 0.0
    answered: list[float] = field(default_factory=list)
    """When each answer began."""
    asked: int = 0


class Simulation:
    """Workers, Inputs that share them, and requests at random times."""

    def __init__(self, workers: list[Worker], inputs: int = 1, seed: int = 7) -> None:
        self.clock = ManualClock()
        self._zero_s = self.clock.monotonic()
        self.workers = {worker.name: worker for worker in workers}
        self._chance = random.Random(seed)  # noqa: S311
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._inputs = [self._input(PeerId(f"input{number}")) for number in range(inputs)]
        self.failed = 0
        self._at(0.0, self._heartbeats)

    def _input(self, own: PeerId) -> tuple[Directory, Selector, Reservations]:
        directory, reservations = Directory(self.clock), Reservations()
        selector = Selector(directory, _connection, reservations, own, clock=self.clock, draw=self._chance.random)
        return directory, selector, reservations

    @property
    def _now_s(self) -> float:
        return self.clock.monotonic() - self._zero_s

    def _at(self, when_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._number), what))

    def _heartbeats(self) -> None:
        for worker in self.workers.values():
            told = 0 if worker.lies else worker.in_flight
            heard = f" heard at {self._now_s}" if worker.renames else ""
            offers = tuple(
                Offer(PROJECT, MODEL, InstanceId(f"{number}{heard}"), ModelKind.CHAT, told)
                for number in range(worker.instances)
            )
            for directory, _, _ in self._inputs:
                directory.apply(Heartbeat(worker.name, NodeFlags.HAS_MODELS, offers))
        self._at(self._now_s + HEARTBEAT_S, self._heartbeats)

    def run(self, until_s: float, requests_per_s: float) -> None:
        """Send requests at random times until `until_s`."""
        when_s = self._now_s
        while (when_s := when_s + self._chance.expovariate(requests_per_s)) < until_s:
            self._at(when_s, self._request)
        while self._events and self._events[0][0] < until_s:
            at_s, _, what = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at_s - self._now_s))
            what()

    def _request(self) -> None:
        _, selector, reservations = self._chance.choice(self._inputs)
        found = selector.choose(WANTED, ())
        assert found is not None
        worker = self.workers[found.peer]
        worker.asked += 1
        instance = (found.peer, PROJECT, MODEL, found.cid)
        now_s = self._now_s
        if now_s < worker.broken_until_s:
            self.failed += 1
            selector.report(instance, Sample(SampleOutcome.FAILED))
            return
        if worker.refuses:
            selector.report(instance, Sample(SampleOutcome.REFUSED))
            return
        held = reservations.reserve(instance)
        held.__enter__()
        worker.in_flight += 1
        begins_s = max(now_s, worker.free_at_s) + worker.first_s
        ends_s = worker.free_at_s = begins_s + TOKENS * worker.token_s
        worker.answered.append(begins_s)

        def end() -> None:
            held.__exit__(None, None, None)
            worker.in_flight -= 1
            selector.report(instance, Sample(SampleOutcome.GOOD, begins_s - now_s, TOKENS, ends_s - begins_s))

        self._at(ends_s, end)

    def shares(self, since_s: float = 0.0) -> dict[str, float]:
        """Return the share of each Worker in the answers that began since then."""
        counts = Counter({one.name: sum(at_s >= since_s for at_s in one.answered) for one in self.workers.values()})
        return {name: number / counts.total() for name, number in counts.items()}


def _connection(peer: PeerId) -> Connection:
    return Connection(peer, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=False, rtt_us=1_000, conn_id=peer)


def _workers(number: int) -> list[Worker]:
    return [Worker(PeerId(f"w{index}")) for index in range(number)]


def test_load_follows_speed_within_thirty_seconds() -> None:
    slow = Worker(PeerId("slow"), first_s=0.5, token_s=0.05)
    simulation = Simulation([slow, *_workers(2)])
    # Two fast ones do 3.6 requests a second, the slow one 0.18: three a second leave no room for carelessness.
    simulation.run(30.0, 3.0)
    simulation.run(90.0, 3.0)
    shares = simulation.shares(since_s=30.0)
    assert shares["slow"] < 0.1
    assert abs(shares["w0"] - shares["w1"]) < 0.1
    assert max(worker.free_at_s for worker in simulation.workers.values()) < 90.0 + 15.0, "no queue has built up"


def test_every_one_of_a_hundred_gets_work() -> None:
    simulation = Simulation(_workers(100), inputs=3)
    simulation.run(30.0, 80.0)
    shares = simulation.shares()
    assert min(shares.values()) > 0.3 / 100
    assert max(shares.values()) < 2.0 / 100


def test_one_that_lies_about_its_load_keeps_at_most_twice_its_share() -> None:
    for number in (3, 10, 50):
        workers = _workers(number)
        workers[0].lies = True
        simulation = Simulation(workers, inputs=4)
        simulation.run(60.0, 1.2 * number)
        assert simulation.shares(since_s=10.0)["w0"] <= 2.0 / number


@pytest.mark.parametrize("number", [2, 4, 10])
@pytest.mark.parametrize(("instances", "renames"), [(1, True), (512, False), (512, True)])
def test_one_that_lies_about_its_instances_too_keeps_no_more(number: int, instances: int, *, renames: bool) -> None:
    workers = _workers(number)
    workers[0].lies, workers[0].instances, workers[0].renames = True, instances, renames
    simulation = Simulation(workers)
    simulation.run(60.0, 1.2 * (number - 1))
    assert simulation.shares(since_s=10.0)["w0"] <= 2.0 / number
    assert min(simulation.shares(since_s=10.0).values()) > 0.0


@pytest.mark.parametrize(("instances", "renames"), [(1, False), (1, True), (8, False), (512, False), (512, True)])
def test_one_whose_instances_all_fail_is_left_however_many_they_are(instances: int, *, renames: bool) -> None:
    workers = _workers(3)
    workers[0].broken_until_s, workers[0].instances, workers[0].renames = 120.0, instances, renames
    simulation = Simulation(workers)
    simulation.run(120.0, 2.0)
    assert simulation.failed < 16, "three until a breaker opens, and some for each pause"


@pytest.mark.parametrize("requests_per_s", [0.1, 1.0])
def test_one_that_refuses_everything_is_asked_less_than_its_share(requests_per_s: float) -> None:
    """It is idle all the time; its clients would be told that their requests are wrong."""
    workers = _workers(2)
    workers[0].refuses = True
    simulation = Simulation(workers)
    simulation.run(200 / requests_per_s, requests_per_s)
    assert workers[0].asked < 0.25 * (workers[0].asked + workers[1].asked)


def test_a_new_one_gets_work_at_once() -> None:
    simulation = Simulation(_workers(4))
    simulation.run(30.0, 5.0)
    simulation.workers[PeerId("new")] = Worker(PeerId("new"))
    simulation.run(35.0, 5.0)
    assert simulation.workers[PeerId("new")].asked >= 4


@pytest.mark.parametrize("seed", range(5))
def test_a_new_one_gets_work_at_once_where_there_is_little(seed: int) -> None:
    simulation = Simulation(_workers(1), seed=seed)
    simulation.run(50.0, 0.1)
    simulation.workers[PeerId("new")] = Worker(PeerId("new"))
    before = simulation.workers[PeerId("w0")].asked
    simulation.run(250.0, 0.1)
    assert simulation.workers[PeerId("new")].asked >= 0.3 * (simulation.workers[PeerId("w0")].asked - before)


def test_one_that_breaks_is_left_and_comes_back() -> None:
    simulation = Simulation(_workers(4))
    simulation.run(20.0, 5.0)
    broken = simulation.workers[PeerId("w0")]
    broken.broken_until_s = 50.0
    simulation.run(50.0, 5.0)
    assert simulation.failed < 12, "three until the breaker opens, and one for each pause"
    simulation.run(120.0, 5.0)
    assert simulation.shares(since_s=90.0)["w0"] > 0.15

"""The directory answers from what was heard, for as long as it counts, and stays within its bounds."""

from __future__ import annotations

import sys

import pytest

from aicn.clock import ManualClock
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer

_P, _Q = ProjectName("P"), ProjectName("Q")
_M, _N = ModelName("m"), ModelName("n")
_MIN_S, _HOUR_S = 60.0, 3_600.0


def _offer(project: str = "P", model: str = "m", cid: str = "", in_flight: int = 0) -> Offer:
    return Offer(ProjectName(project), ModelName(model), InstanceId(cid), ModelKind.CHAT, in_flight)


def _beat(peer: str, *offers: Offer) -> Heartbeat:
    return Heartbeat(PeerId(peer), NodeFlags(0), offers)


def _served_by(directory: Directory, project: ProjectName = _P, model: ModelName = _M) -> set[tuple[str, str, int]]:
    return {(record.peer, offer.cid, offer.in_flight) for record, offer in directory.serving(project, model)}


def test_every_instance_of_a_model_is_found() -> None:
    directory = Directory(ManualClock())
    directory.apply(_beat("a", _offer(cid="1", in_flight=3), _offer(cid="2"), _offer(model="n")))
    directory.apply(_beat("b", _offer()))
    directory.apply(_beat("c"))
    assert _served_by(directory) == {("a", "1", 3), ("a", "2", 0), ("b", "", 0)}
    assert _served_by(directory, _P, _N) == {("a", "", 0)}
    assert _served_by(directory, _Q) == set()


def test_the_latest_heartbeat_is_the_whole_truth() -> None:
    directory = Directory(ManualClock())
    directory.apply(_beat("a", _offer(cid="1"), _offer("Q")))
    directory.apply(_beat("a", _offer(cid="2", in_flight=1)))
    assert _served_by(directory) == {("a", "2", 1)}
    assert directory.projects() == (_P,)
    directory.apply(_beat("a"))
    assert _served_by(directory) == set()
    assert directory.projects() == ()
    assert directory.peers() == ("a",)


@pytest.mark.parametrize(
    ("age_s", "serving", "listed", "kept"),
    [
        (10 * _MIN_S, True, True, True),
        (10 * _MIN_S + 1, False, True, True),
        (12 * _HOUR_S, False, True, True),
        (12 * _HOUR_S + 1, False, False, True),
        (24 * _HOUR_S, False, False, True),
        (24 * _HOUR_S + 1, False, False, False),
    ],
)
def test_what_was_heard_counts_for_its_time(age_s: float, *, serving: bool, listed: bool, kept: bool) -> None:
    clock = ManualClock()
    directory = Directory(clock)
    directory.apply(_beat("a", _offer()))
    clock.advance(age_s)
    assert bool(directory.serving(_P, _M)) is serving
    assert directory.peers() == (("a",) if listed else ())
    assert directory.projects() == ((_P,) if listed else ())
    assert directory.models(_P) == ((_M,) if listed else ())
    assert len(directory.records()) == len(directory) == int(kept)
    assert (directory.record(PeerId("a")) is not None) is kept


def test_only_the_local_monotonic_clock_counts() -> None:
    directory = Directory(ManualClock())
    directory.apply(Heartbeat(PeerId("past"), NodeFlags(0), (_offer(),), sent_unix_s=0))
    directory.apply(Heartbeat(PeerId("future"), NodeFlags(0), (_offer(),), sent_unix_s=2**62))
    assert {peer for peer, _, _ in _served_by(directory)} == {"past", "future"}


def test_a_peer_heard_again_is_young_again() -> None:
    clock = ManualClock()
    directory = Directory(clock)
    directory.apply(_beat("a", _offer()))
    directory.apply(_beat("b", _offer()))
    clock.advance(13 * _HOUR_S)
    directory.apply(_beat("a", _offer()))
    assert directory.peers() == ("a",)
    assert _served_by(directory) == {("a", "", 0)}
    assert [record.peer for record in directory.records()] == ["b", "a"]


def test_after_a_long_silence_the_longest_unheard_is_still_first_to_go() -> None:
    """Whatever the last calls were, and however many limits of age passed at once."""
    clock = ManualClock()
    directory = Directory(clock, max_peers=2)
    directory.apply(_beat("first"))
    clock.advance(10 * _MIN_S + 1)
    directory.apply(_beat("second"))
    clock.advance(12 * _HOUR_S + 1)
    assert [record.peer for record in directory.records()] == ["first", "second"]
    directory.apply(_beat("third"))
    assert [record.peer for record in directory.records()] == ["second", "third"]


def test_forgetting_leaves_nothing() -> None:
    directory = Directory(ManualClock())
    directory.apply(_beat("a", _offer()))
    directory.forget(PeerId("a"))
    directory.forget(PeerId("never seen"))
    assert directory.records() == ()
    assert directory.serving(_P, _M) == ()
    assert directory.projects() == ()
    assert not directory._serving
    assert not directory._names


def test_lists_are_sorted_and_cut() -> None:
    directory = Directory(ManualClock())
    for number in (3, 1, 2, 5, 4):
        directory.apply(_beat(f"peer{number}", _offer(f"project{number}", "x"), _offer("P", f"m{number}")))
    assert directory.projects(3) == ("P", "project1", "project2")
    assert directory.models(_P, 2) == ("m1", "m2")
    assert directory.models(_P) == ("m1", "m2", "m3", "m4", "m5")
    assert directory.models(ProjectName("none")) == ()
    assert directory.projects(0) == ()
    assert directory.models(_P, 0) == ()
    assert directory.peers() == ("peer1", "peer2", "peer3", "peer4", "peer5")


def test_when_full_the_longest_unheard_makes_room() -> None:
    clock = ManualClock()
    directory = Directory(clock, max_peers=3)
    for peer in "abc":
        directory.apply(_beat(peer, _offer()))
        clock.advance(1)
    directory.apply(_beat("a", _offer()))
    directory.apply(_beat("d", _offer()))
    assert directory.peers() == ("a", "c", "d")
    assert {peer for peer, _, _ in _served_by(directory)} == {"a", "c", "d"}


def test_when_full_nobody_heard_lately_goes_before_the_others() -> None:
    clock = ManualClock()
    directory = Directory(clock, max_peers=4)
    directory.apply(_beat("yesterday"))
    clock.advance(13 * _HOUR_S)
    directory.apply(_beat("today"))
    clock.advance(11 * _MIN_S)
    directory.apply(_beat("now1"))
    directory.apply(_beat("now2"))
    for newcomer, kept in [
        ("new1", {"today", "now1", "now2", "new1"}),
        ("new2", {"now1", "now2", "new1", "new2"}),
        ("new3", {"now2", "new1", "new2", "new3"}),
    ]:
        directory.apply(_beat(newcomer))
        assert {record.peer for record in directory.records()} == kept


def test_offers_of_all_peers_together_are_bounded() -> None:
    clock = ManualClock()
    directory = Directory(clock, max_offers=5)
    directory.apply(_beat("a", *(_offer(cid=str(number)) for number in range(3))))
    clock.advance(1)
    directory.apply(_beat("b", _offer(), _offer("Q")))
    directory.apply(_beat("c", _offer()))
    assert directory.peers() == ("b", "c")
    directory.apply(_beat("c", *(_offer(cid=str(number)) for number in range(5))))
    assert directory.peers() == ("c",)
    assert len(directory.serving(_P, _M)) == 5


def test_a_node_finds_its_answer_without_looking_at_all_peers() -> None:
    """Counted in calls of Python functions, which are the same on every machine, not in seconds."""
    clock = ManualClock()
    directory = Directory(clock)
    for number in range(10_000):
        directory.apply(_beat(f"peer{number}", _offer(model=f"m{number % 5_000}")))
        clock.advance(0.01)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        found = directory.serving(_P, ModelName("m7"))
    finally:
        sys.setprofile(None)
    assert len(found) == 2
    assert calls < 20


def test_strangers_do_not_push_out_those_that_are_connected() -> None:
    connected = {PeerId("worker"), PeerId("other")}
    directory = Directory(ManualClock(), max_peers=4, max_offers=8, is_connected=connected.__contains__)
    directory.apply(_beat("worker", _offer()))
    directory.apply(_beat("other", _offer(cid="1")))
    for number in range(20):
        directory.apply(_beat(f"stranger{number}", *(_offer("X", cid=f"{cid}") for cid in range(4))))
        assert _served_by(directory) == {("worker", "", 0), ("other", "1", 0)}
    assert len(directory) == 3


def test_of_those_that_are_connected_whoever_takes_the_most_room_goes_first() -> None:
    directory = Directory(ManualClock(), max_peers=10, max_offers=8, is_connected=lambda _: True)
    directory.apply(_beat("worker", _offer()))
    for number in range(5):
        directory.apply(_beat(f"greedy{number}", *(_offer("X", cid=f"{cid}") for cid in range(4))))
    assert _served_by(directory) == {("worker", "", 0)}

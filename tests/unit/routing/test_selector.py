from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicn import defaults
from aicn.clock import ManualClock
from aicn.endpoints import Endpoint
from aicn.errors import WrongKind
from aicn.ids import InstanceId, ModelKind, ModelName, Multiaddr, PeerId, ProjectName
from aicn.p2p.host import Connection, Direction
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer
from aicn.routing import Chosen, Reservations, Sample, SampleOutcome, Selector, Wanted

PROJECT, MODEL = ProjectName("P"), ModelName("m")
WANTED = Wanted(PROJECT, MODEL, ModelKind.CHAT)
OWN = PeerId("own")
GOOD = Sample(SampleOutcome.GOOD, 0.1, 100, 1.0)
FAILED = Sample(SampleOutcome.FAILED)
BUSY = Sample(SampleOutcome.BUSY)


class Network:
    """A directory, who is connected in it, and a selector with reproducible chance."""

    def __init__(self, *peers: str, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.directory = Directory(self.clock)
        self.connected: dict[PeerId, Connection] = {}
        self.spoken: dict[PeerId, set[str]] = {}
        self.reservations = Reservations()
        self.selector = Selector(
            self.directory,
            self.connected.get,
            self.reservations,
            OWN,
            speaks=lambda peer, protocol: protocol in self.spoken[peer] if peer in self.spoken else None,
            clock=self.clock,
            draw=random.Random(seed).random,  # noqa: S311
        )
        for peer in peers:
            self.add(peer)

    def add_node(self, peer: str, *cids: str, in_flight: int = 0, connected: bool = True) -> None:
        """Add a node with several instances of the model."""
        self.add(peer, connected=connected)
        offers = tuple(Offer(PROJECT, MODEL, InstanceId(cid), ModelKind.CHAT, in_flight) for cid in cids)
        self.directory.apply(Heartbeat(PeerId(peer), NodeFlags.HAS_MODELS, offers))

    def add(self, peer: str, *, connected: bool = True, relayed: bool = False, **offer: Any) -> None:
        name = PeerId(peer)
        told: dict[str, Any] = {"cid": InstanceId(""), "kind": ModelKind.CHAT, "in_flight": 0} | offer
        self.directory.apply(Heartbeat(name, NodeFlags.HAS_MODELS, (Offer(PROJECT, MODEL, **told),)))
        if connected and name != OWN:
            self.connected[name] = Connection(
                name, Multiaddr("/ip4/127.0.0.1"), Direction.INBOUND, relayed=relayed, rtt_us=1_000, conn_id=peer
            )
        self.selector.network_changed(name)

    def part(self, peer: str) -> None:
        self.connected.pop(PeerId(peer), None)
        self.selector.network_changed(PeerId(peer))

    def choose(self, tried: Any = (), wanted: Wanted = WANTED) -> Chosen | None:
        return self.selector.choose(wanted, tried)

    def chosen(self, times: int = 400, wanted: Wanted = WANTED) -> Counter[str]:
        return Counter(found.peer for _ in range(times) if (found := self.choose(wanted=wanted)) is not None)

    def report(self, peer: str, sample: Sample, times: int = 1, cid: str = "") -> None:
        for _ in range(times):
            self.selector.report((PeerId(peer), PROJECT, MODEL, InstanceId(cid)), sample)


def test_nobody_serves_it() -> None:
    assert Network().choose() is None


def test_whoever_does_something_else_is_not_asked() -> None:
    network = Network()
    network.add("draws", kind=ModelKind.IMAGE_GENERATION)
    with pytest.raises(WrongKind, match="does image generation"):
        network.choose()
    network.add("chats")
    assert set(network.chosen()) == {"chats"}


def test_equals_share_the_work() -> None:
    chosen = Network(*"abcd").chosen(4_000)
    assert all(800 < count < 1_200 for count in chosen.values())
    assert len(chosen) == 4


def test_the_one_with_less_work_is_chosen() -> None:
    network = Network("idle")
    network.add("busy", in_flight=3)
    assert set(network.chosen()) == {"idle"}


def test_own_requests_count_where_a_node_says_less() -> None:
    network = Network("a", "b")
    with network.reservations.reserve((PeerId("a"), PROJECT, MODEL, InstanceId(""))):
        assert set(network.chosen()) == {"b"}
        candidate = network.choose({(PeerId("b"), PROJECT, MODEL, InstanceId(""))})
        assert candidate is not None
        assert candidate.peer == "a"


def test_the_faster_one_is_chosen_and_news_of_a_heartbeat_count_at_once() -> None:
    network = Network("fast", "slow")
    network.report("fast", GOOD, 20)
    network.report("slow", GOOD._replace(first_content_s=1.0), 20)
    assert set(network.chosen()) == {"fast"}
    network.add("fast", in_flight=9)
    assert set(network.chosen()) == {"slow"}


def test_who_is_connected_comes_first() -> None:
    network = Network()
    network.add("far", connected=False)
    network.add("here", in_flight=50)
    assert set(network.chosen()) == {"here"}
    network.part("here")
    assert set(network.chosen()) == {"far"}, "the less busy of two that must be dialled"


def test_this_node_itself_needs_no_connection() -> None:
    network = Network()
    network.add(OWN)
    found = network.choose()
    assert found is not None
    assert (found.peer, found.connected) == (OWN, True)


def test_none_is_asked_twice() -> None:
    network = Network(*"abc")
    network.add("d", connected=False)
    tried: set[Any] = set()
    while (found := network.choose(tried)) is not None:
        instance = (found.peer, PROJECT, MODEL, found.cid)
        assert instance not in tried
        tried.add(instance)
    assert {peer for peer, *_ in tried} == set("abcd")


def test_who_fails_is_left_alone_and_tried_again_by_one_request() -> None:
    network = Network("good", "bad")
    network.report("bad", FAILED, defaults.BREAKER_FAILURES)
    assert network.selector.open_breakers() == 1
    assert set(network.chosen()) == {"good"}
    network.clock.advance(defaults.BREAKER_PAUSE_S)
    network.add("good", in_flight=1_000)
    assert network.chosen(2_000)["bad"] == 1, "one request tries it"
    network.report("bad", GOOD)
    assert network.selector.open_breakers() == 0
    assert network.chosen()["bad"] > 100


def test_who_fails_is_asked_when_nobody_else_is_left() -> None:
    network = Network("bad", "worse")
    network.report("bad", FAILED, defaults.BREAKER_FAILURES)
    network.clock.advance(defaults.BREAKER_PAUSE_S / 2)
    network.report("worse", FAILED, defaults.BREAKER_FAILURES)
    assert network.chosen(1) == {"bad": 1}


def test_who_alone_serves_it_is_asked_whatever_has_failed_there() -> None:
    network = Network("only")
    for outcome in (FAILED, BUSY):
        for _ in range(20):
            assert network.chosen(1) == {"only": 1}
            network.report("only", outcome)


def test_who_is_out_of_reach_is_not_dialled_again_before_a_pause_and_gets_work_when_it_comes_by_itself() -> None:
    network = Network()
    network.add("gone", connected=False)
    network.report("gone", FAILED)
    assert network.choose() is None, "once is enough, and nobody waits for it again"
    network.clock.advance(defaults.BREAKER_PAUSE_S)
    assert network.chosen(10) == {"gone": 1}, "one request tries it"
    network.report("gone", FAILED)
    network.add("gone")
    network.selector.network_changed(PeerId("gone"), come=True)
    assert network.chosen(10) == {"gone": 10}


def test_who_is_overtaken_is_no_better_for_it() -> None:
    network = Network("good", "hangs")
    network.report("good", GOOD, 20)
    network.report("hangs", FAILED, defaults.BREAKER_FAILURES)
    network.report("hangs", Sample(SampleOutcome.SLOW, 0.001))
    assert network.selector.open_breakers() == 1
    network.clock.advance(20 * defaults.MEASURED_FADES_S)
    network.add("good")
    network.add("hangs")
    network.report("hangs", Sample(SampleOutcome.SLOW, 60.0))
    assert set(network.chosen(50)) == {"good"}


def test_who_has_no_room_is_passed_over_for_a_moment() -> None:
    network = Network("a", "b")
    network.report("a", BUSY)
    assert set(network.chosen()) == {"b"}
    network.clock.advance(defaults.BREAKER_BUSY_S)
    assert set(network.chosen()) == {"a", "b"}


def test_who_refuses_all_the_time_is_passed_over_for_longer() -> None:
    network = Network("a", "b")
    for _ in range(6):
        network.report("a", BUSY)
        network.clock.advance(defaults.BREAKER_BUSY_MAX_S)
    network.report("a", BUSY)
    network.clock.advance(defaults.BREAKER_BUSY_MAX_S / 2)
    assert set(network.chosen()) == {"b"}
    network.report("b", GOOD)
    network.report("a", GOOD)
    network.report("a", BUSY)
    network.clock.advance(defaults.BREAKER_BUSY_S)
    assert "a" in network.chosen(), "one that works is not passed over for long"


def test_instances_of_different_nodes_are_held_against_each_other() -> None:
    network = Network()
    network.add_node("many", *map(str, range(defaults.PEER_MAX_OFFERS)), in_flight=1)
    network.add("one")
    assert set(network.chosen()) == {"one"}


def test_a_node_of_many_instances_is_drawn_no_more_than_a_large_machine() -> None:
    network = Network(*map(str, range(defaults.CHOOSE_NODE_INSTANCES)))
    network.add_node("many", *map(str, range(defaults.PEER_MAX_OFFERS)))
    assert network.chosen(1_000)["many"] < 600


def test_the_least_busy_instance_of_the_only_node_is_found() -> None:
    network = Network()
    network.add_node("only", "0", "1", "2")
    held = [network.reservations.reserve((PeerId("only"), PROJECT, MODEL, InstanceId(cid))) for cid in "02"]
    with held[0], held[1]:
        cids = [found.cid for _ in range(50) if (found := network.choose()) is not None]
    assert cids.count(InstanceId("1")) > 45


def test_a_second_attempt_goes_to_another_node_while_there_is_one() -> None:
    network = Network("other")
    network.add_node("many", *"abcdefgh")
    tried = {(PeerId("many"), PROJECT, MODEL, InstanceId("a"))}
    elsewhere = [network.selector.choose(WANTED, tried, {PeerId("many")}) for _ in range(100)]
    assert {found and found.peer for found in elsewhere} == {"other"}
    both = {PeerId("many"), PeerId("other")}
    found = network.selector.choose(WANTED, tried | {(PeerId("other"), PROJECT, MODEL, InstanceId(""))}, both)
    assert found is not None
    assert (found.peer, found.cid != "a") == ("many", True), "no other node is left"


def test_a_node_whose_instances_fail_one_after_the_other_is_left_alone_as_a_whole() -> None:
    network = Network("good")
    network.add_node("bad", *"abcdefgh")
    for cid in "abc":
        network.report("bad", FAILED, cid=cid)
    assert set(network.chosen()) == {"good"}
    network.add_node("bad", *"ijkl")
    assert set(network.chosen()) == {"good"}, "new names do not help"
    network.clock.advance(defaults.BREAKER_PAUSE_S)
    network.add("good", in_flight=1_000)
    assert network.chosen()["bad"] == 1, "one request tries it"
    network.report("bad", GOOD, cid="i")
    assert network.chosen()["bad"] > 100


def test_one_broken_instance_does_not_shut_its_neighbours_off() -> None:
    network = Network("good")
    network.add_node("mixed", *"abcd")
    network.report("mixed", FAILED, 9, cid="a")
    cids = [found.cid for _ in range(400) if (found := network.choose()) is not None and found.peer == "mixed"]
    assert set(cids) == set("bcd")


def test_who_is_out_of_reach_is_so_with_all_instances() -> None:
    network = Network()
    network.add_node("gone", *"abcd", connected=False)
    network.report("gone", FAILED, cid="a")
    assert network.choose() is None, "to dial it again for each would take all the time there is"


def test_who_does_not_speak_the_protocol_is_not_asked() -> None:
    network = Network("old", "new", "unknown")
    network.spoken = {PeerId("old"): {"/a"}, PeerId("new"): {"/a", "/b"}}
    assert set(network.chosen(wanted=WANTED._replace(protocol="/b"))) == {"new", "unknown"}
    assert set(network.chosen(wanted=WANTED._replace(protocol="/a"))) == {"old", "new", "unknown"}


@pytest.mark.parametrize(
    ("spoken", "nowhere"),
    [
        pytest.param({"a": {"/a"}, "b": set()}, True, id="all are known not to"),
        pytest.param({"a": {"/a"}, "b": {"/b"}}, False, id="one does"),
        pytest.param({"a": {"/a"}}, False, id="one has not said"),
    ],
)
def test_what_no_node_speaks_is_told_from_what_nobody_serves(spoken: dict[str, set[str]], *, nowhere: bool) -> None:
    network = Network("a")
    network.add("b", connected=False)
    network.spoken = {PeerId(peer): protocols for peer, protocols in spoken.items()}
    wanted = WANTED._replace(protocol="/b")
    assert network.selector.spoken_nowhere(wanted) is nowhere
    assert (network.choose(wanted=wanted) is None) is nowhere
    assert not network.selector.spoken_nowhere(WANTED)
    assert not network.selector.spoken_nowhere(wanted._replace(model=ModelName("unknown")))
    network.add(OWN)
    assert not network.selector.spoken_nowhere(wanted), "this node can ask itself for whatever it serves"


def test_a_node_of_the_reference_gets_no_more_than_it_takes() -> None:
    network = Network("old")
    network.spoken = {PeerId("old"): {defaults.CHAT_PROXY_PROTOCOL}}
    network.add("new", in_flight=1_000)
    elsewhere = (PeerId("old"), PROJECT, ModelName("other"), InstanceId(""))
    held = [network.reservations.reserve(elsewhere) for _ in range(defaults.REFERENCE_STREAMS_MAX)]
    for each in held[:-1]:
        each.__enter__()
    assert set(network.chosen()) == {"old"}
    with held[-1]:
        assert set(network.chosen()) == {"new"}
    for each in held[:-1]:
        each.__exit__(None, None, None)


def test_a_conversation_stays_where_it_is_while_that_is_good() -> None:
    network = Network(*"abcdefgh")
    conversation = WANTED._replace(session="s")
    (first,) = network.chosen(1, conversation)
    assert set(network.chosen(wanted=conversation)) == {first}
    assert len(network.chosen()) == 8
    network.add(first, in_flight=20)
    assert first not in network.chosen(1, conversation)


def test_a_conversation_goes_on_elsewhere_when_its_node_fails_or_goes() -> None:
    network = Network(*"abc")
    conversation = WANTED._replace(session="s")
    (first,) = network.chosen(1, conversation)
    network.report(first, FAILED, defaults.BREAKER_FAILURES)
    (second,) = network.chosen(1, conversation)
    assert second != first
    network.directory.forget(PeerId(second))
    (third,) = network.chosen(1, conversation)
    assert third not in {first, second}
    network.clock.advance(defaults.SESSION_REST_S / 4)
    network.add("d")
    network.clock.advance(defaults.SESSION_REST_S)
    network.add("d")
    assert set(network.chosen(wanted=conversation)) == {"d"}, "all others were not heard for too long"


def test_a_conversation_goes_on_only_with_what_does_what_is_asked_for() -> None:
    network = Network()
    network.add("draws", kind=ModelKind.IMAGE_GENERATION)
    network.add("edits", kind=ModelKind.IMAGE_EDIT)
    drawn = WANTED._replace(session="s", kind=ModelKind.IMAGE_GENERATION)
    assert set(network.chosen(wanted=drawn)) == {"draws"}
    assert set(network.chosen(wanted=drawn._replace(kind=ModelKind.IMAGE_EDIT))) == {"edits"}


def test_few_that_can_be_asked_are_found_among_many() -> None:
    network = Network()
    for number in range(200):
        network.add(f"dead{number}")
        network.report(f"dead{number}", FAILED, defaults.BREAKER_FAILURES)
    network.add("alive")
    network.add("well")
    assert set(network.chosen(50)) == {"alive", "well"}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"),
            st.sampled_from(["hear", "forget", "connect", "part", "good", "failed", "busy", "wait", "choose"]),
        ),
        max_size=60,
    )
)
def test_whatever_happens_whoever_is_chosen_serves_it_and_was_not_tried(events: list[tuple[str, str]]) -> None:
    network = Network()
    tried = {(PeerId("a"), PROJECT, MODEL, InstanceId(""))}
    for peer, event in events:
        match event:
            case "hear":
                network.add(peer, connected=False)
            case "connect":
                network.add(peer)
            case "forget":
                network.directory.forget(PeerId(peer))
            case "part":
                network.part(peer)
            case "wait":
                network.clock.advance(61.0)
            case "choose":
                found = network.choose(tried)
                serving = {record.peer for record, _ in network.directory.serving(PROJECT, MODEL)}
                left = serving - {"a"}
                if left & set(network.connected):
                    assert found is not None
                if found is not None:
                    assert found.peer in left
                    assert found.connected == (found.peer in network.connected)
            case _:
                network.report(peer, {"good": GOOD, "failed": FAILED, "busy": BUSY}[event])


def test_of_thousands_that_have_gone_or_of_whom_nobody_has_told_none_is_asked() -> None:
    network = Network(*(f"{number}" for number in range(3_000)))
    assert network.choose() is not None
    stays = PeerId("7")
    told = [each for each in network.connected if each != stays][:2_900]
    for peer in told:
        network.part(peer)
    for peer in [each for each in network.connected if each != stays]:
        del network.connected[peer]
    assert set(network.chosen(4_000)) == {stays}


def test_who_says_that_it_is_nothing_for_it_is_asked_last_for_a_while() -> None:
    network = Network("old", "new")
    chat = Wanted(PROJECT, MODEL, ModelKind.CHAT, endpoint=Endpoint.CHAT)
    embeddings = chat._replace(endpoint=Endpoint.EMBEDDINGS)
    network.report("old", Sample(SampleOutcome.UNFIT, endpoint=Endpoint.EMBEDDINGS))
    assert set(network.chosen(wanted=embeddings)) == {"new"}
    assert set(network.chosen(wanted=chat)) == {"old", "new"}, "for anything else it is as good as before"
    network.directory.forget(PeerId("new"))
    network.part("new")
    assert set(network.chosen(wanted=embeddings)) == {"old"}, "there is nobody else"
    network.add("new")
    network.clock.advance(defaults.UNFIT_REST_S)
    assert set(network.chosen(wanted=embeddings)) == {"old", "new"}


def test_nobody_is_unfit_for_ever() -> None:
    network = Network("a")
    wanted = WANTED._replace(endpoint=Endpoint.CHAT, session="s")
    network.report("a", Sample(SampleOutcome.UNFIT, endpoint=Endpoint.CHAT))
    network.part("a")
    assert set(network.chosen(wanted=wanted)) == {"a"}, "who must be dialled is asked too, if nobody else is there"


@pytest.mark.parametrize("outcome", [SampleOutcome.SLOW, SampleOutcome.UNFIT, SampleOutcome.UNASKED])
def test_a_trial_that_tells_nothing_is_followed_by_the_next(outcome: SampleOutcome) -> None:
    network = Network("broken", "good")
    network.report("broken", FAILED, defaults.BREAKER_FAILURES)
    network.clock.advance(defaults.BREAKER_PAUSE_MAX_S)
    good = (PeerId("good"), PROJECT, MODEL, InstanceId(""))

    def trial() -> bool:
        # Who may be asked comes before who must be dialled, and that before who is left alone.
        found = network.choose({good})
        return found is not None and found.peer == "broken"

    network.add("far", connected=False)
    assert trial()
    assert not trial(), "one at a time"
    network.report("broken", Sample(outcome, first_content_s=0.0, endpoint=Endpoint.SPEECH))
    assert trial()


def test_who_never_answers_is_left_for_those_who_do() -> None:
    network = Network("silent", "good")
    network.report("good", GOOD, 20)
    for _ in range(3):
        network.report("silent", Sample(SampleOutcome.SLOW, first_content_s=30.0))
    assert set(network.chosen()) == {"good"}

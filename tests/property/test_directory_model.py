"""The directory, with all its indexes, is indistinguishable from a list that is searched from end to end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aicn.clock import ManualClock
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Directory, Forgotten, Heartbeat, NodeFlags, Offer, PeerRecord, Standing, Swept, standing, step

_MAX_PEERS, _MAX_OFFERS = 4, 9
_PROJECTS = [ProjectName(name) for name in "PQ"]
_MODELS = [ModelName(name) for name in "mn"]
_PEERS = st.sampled_from([PeerId(name) for name in "abcdefg"])
_OFFERS = st.lists(
    st.builds(
        Offer,
        st.sampled_from(_PROJECTS),
        st.sampled_from(_MODELS),
        st.sampled_from([InstanceId(name) for name in "12"]),
        st.sampled_from(ModelKind),
        st.integers(0, 3),
    ),
    unique_by=lambda offer: (offer.project, offer.model, offer.cid),
    max_size=_MAX_OFFERS,
).map(tuple)
_STEPS_S = st.sampled_from([0.0, 1.0, 599.0, 600.0, 601.0, 42_600.0, 43_200.0, 43_201.0, 86_400.0, 86_401.0])


class DirectoryMachine(RuleBasedStateMachine):
    """Drives a directory and a plain list of records, oldest first, through the same events."""

    @initialize()
    def start(self) -> None:
        self.clock = ManualClock()
        self.directory = Directory(self.clock, max_peers=_MAX_PEERS, max_offers=_MAX_OFFERS)
        self.records: list[PeerRecord] = []

    def _step(self, peer: PeerId, event: Heartbeat | Forgotten) -> None:
        old = next((each for each in self.records if each.peer == peer), None)
        new = step(old, event, self.clock.monotonic())
        self.records = [each for each in self.records if each is not old] + ([new] if new else [])

    @rule(peer=_PEERS, offers=_OFFERS, flags=st.sampled_from(NodeFlags))
    def hear(self, peer: PeerId, offers: tuple[Offer, ...], flags: NodeFlags) -> None:
        heartbeat = Heartbeat(peer, flags, offers)
        self.directory.apply(heartbeat)
        self._step(peer, heartbeat)
        while len(self.records) > _MAX_PEERS or sum(len(each.offers) for each in self.records) > _MAX_OFFERS:
            self.records.pop(0)

    @rule(peer=_PEERS)
    def forget(self, peer: PeerId) -> None:
        self.directory.forget(peer)
        self._step(peer, Forgotten())

    @rule(seconds=_STEPS_S)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.directory.sweep()

    @precondition(lambda self: hasattr(self, "directory"))
    @invariant()
    def answers_are_the_same(self) -> None:
        now_s = self.clock.monotonic()
        self.records = [each for each in self.records if step(each, Swept(), now_s) is not None]
        assert self.directory.records() == tuple(self.records)
        for each in self.records:
            assert self.directory.record(each.peer) == each

        listed = [
            each for each in self.records if standing(each.heard_s, now_s) in {Standing.ELIGIBLE, Standing.LISTED}
        ]
        assert self.directory.peers() == tuple(sorted(each.peer for each in listed))
        named = {(offer.project, offer.model) for each in listed for offer in each.offers}
        assert self.directory.projects() == tuple(sorted({project for project, _ in named}))
        assert self.directory.projects(1) == self.directory.projects()[:1]

        eligible = [each for each in listed if standing(each.heard_s, now_s) is Standing.ELIGIBLE]
        for project in _PROJECTS:
            assert self.directory.models(project) == tuple(sorted(model for name, model in named if name == project))
            for model in _MODELS:
                expected = {
                    (each, offer)
                    for each in eligible
                    for offer in each.offers
                    if (offer.project, offer.model) == (project, model)
                }
                found = self.directory.serving(project, model)
                assert len(found) == len(expected)
                assert set(found) == expected

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        self.clock.advance(86_401.0)
        self.directory.sweep()
        assert len(self.directory) == self.directory._offer_count == 0
        assert not self.directory._serving
        assert not self.directory._names


TestDirectoryMachine = DirectoryMachine.TestCase
TestDirectoryMachine.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.node.links import welcome, worth
from aicn.peers import NodeFlags, Offer, PeerRecord

NOW_S = 50_000.0


def _record(flags: NodeFlags, *projects: str, age_s: float = 0.0) -> PeerRecord:
    offers = tuple(
        Offer(ProjectName(project), ModelName("m"), InstanceId(""), ModelKind.CHAT, 0) for project in projects
    )
    return PeerRecord(PeerId("peer"), flags, offers, NOW_S - age_s)


_MODELS = NodeFlags.HAS_MODELS
_LATE_S = defaults.PEER_ELIGIBLE_S + 1


@pytest.mark.parametrize(
    ("record", "project", "let_in"),
    [
        (None, "P", True),
        (_record(_MODELS, "P"), "P", True),
        (_record(_MODELS, "Q", "P"), "P", True),
        (_record(_MODELS, "Q"), "P", False),
        (_record(_MODELS), "P", False),
        (_record(_MODELS | NodeFlags.COLLECTS | NodeFlags.PUBLIC, "Q"), "P", False),
        (_record(NodeFlags.COLLECTS), "P", True),
        (_record(_MODELS, "Q", age_s=defaults.PEER_ELIGIBLE_S), "P", False),
        (_record(_MODELS, "Q", age_s=_LATE_S), "P", True),
        (_record(_MODELS, "Q"), "", True),
    ],
)
def test_who_is_let_in(record: PeerRecord | None, project: str, let_in: bool) -> None:  # noqa: FBT001
    assert welcome(record, project, NOW_S) is let_in


def test_an_input_values_who_serves_and_a_worker_values_who_asks() -> None:
    stranger, server, asker, both = (
        None,
        _record(_MODELS, "P"),
        _record(NodeFlags.COLLECTS),
        _record(_MODELS | NodeFlags.COLLECTS, "P"),
    )
    plain = _record(NodeFlags(0))
    for_input = sorted([both, asker, stranger, server, plain], key=lambda one: worth(one, collects=True))
    for_worker = sorted([both, asker, stranger, server, plain], key=lambda one: worth(one, collects=False))
    assert for_input == [stranger, plain, asker, server, both]
    assert for_worker == [stranger, plain, server, asker, both]

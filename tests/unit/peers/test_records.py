"""What a record becomes, as tables."""

from __future__ import annotations

import pytest

from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Forgotten, Heartbeat, NodeFlags, Offer, PeerRecord, Standing, Swept, standing, step

_MIN_S, _HOUR_S = 60.0, 3_600.0
_PEER = PeerId("16Uiu2HA-one")
_OFFER = Offer(ProjectName("P"), ModelName("m"), InstanceId("c"), ModelKind.CHAT, 2)
_RECORD = PeerRecord(_PEER, NodeFlags.PUBLIC, (_OFFER,), heard_s=1_000.0)


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0.0, Standing.ELIGIBLE),
        (10 * _MIN_S, Standing.ELIGIBLE),
        (10 * _MIN_S + 0.001, Standing.LISTED),
        (12 * _HOUR_S, Standing.LISTED),
        (12 * _HOUR_S + 0.001, Standing.REMEMBERED),
        (24 * _HOUR_S, Standing.REMEMBERED),
        (24 * _HOUR_S + 0.001, Standing.EXPIRED),
    ],
)
def test_standing_by_age(age_s: float, expected: Standing) -> None:
    assert standing(0.0, age_s) is expected


_BEAT = Heartbeat(_PEER, NodeFlags.HAS_MODELS, (), sent_unix_s=5)


@pytest.mark.parametrize(
    ("record", "event", "now_s", "expected"),
    [
        (None, _BEAT, 7.0, PeerRecord(_PEER, NodeFlags.HAS_MODELS, (), 7.0)),
        (_RECORD, _BEAT, 1_001.0, PeerRecord(_PEER, NodeFlags.HAS_MODELS, (), 1_001.0)),
        (None, Forgotten(), 7.0, None),
        (_RECORD, Forgotten(), 1_001.0, None),
        (None, Swept(), 7.0, None),
        (_RECORD, Swept(), 1_000.0 + 24 * _HOUR_S, _RECORD),
        (_RECORD, Swept(), 1_001.0 + 24 * _HOUR_S, None),
    ],
)
def test_steps(
    record: PeerRecord | None, event: Heartbeat | Forgotten | Swept, now_s: float, expected: PeerRecord | None
) -> None:
    assert step(record, event, now_s) == expected

"""What is known of one peer, and how it changes: (record, event, now) -> record, pure.

All times are seconds of the local monotonic clock: what a peer says of its own time is never compared with ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from typing import assert_never

from aicn import defaults
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName


class NodeFlags(IntFlag):
    """What a node is, as its heartbeat says (`node_type`)."""

    PUBLIC = 1
    """Reachable from outside: its relay service is on."""
    COLLECTS = 2
    """Keeps a directory of peers, thus answers the questions of users."""
    HAS_MODELS = 4
    """Serves at least one model."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One instance of a model on a peer."""

    project: ProjectName
    model: ModelName
    cid: InstanceId
    kind: ModelKind
    in_flight: int
    """Requests it was working on when the peer said so."""


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """What a peer last said of itself."""

    peer: PeerId
    flags: NodeFlags
    offers: tuple[Offer, ...]
    heard_s: float
    """When that was heard, by the local monotonic clock."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Event: a peer told what it is and serves."""

    peer: PeerId
    flags: NodeFlags
    offers: tuple[Offer, ...]
    """No two with the same project, model and instance; at most `defaults.PEER_MAX_OFFERS`."""
    sent_unix_s: int = 0
    """When it was sent, by the peer's own clock. Only good for comparing two heartbeats of one peer."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Event: what was known of the peer is wrong, and none of it is to be kept."""


@dataclass(frozen=True, slots=True)
class Swept:
    """Event: time passed."""


Event = Heartbeat | Forgotten | Swept


class Standing(Enum):
    """What a record is still good for, by its age."""

    ELIGIBLE = auto()
    """Requests may be sent there."""
    LISTED = auto()
    """Shown in lists, but not asked."""
    REMEMBERED = auto()
    """Known, no more."""
    EXPIRED = auto()
    """To be deleted."""


def standing(heard_s: float, now_s: float) -> Standing:
    """Return what a record of `heard_s` is good for at `now_s`; a limit itself still counts as within."""
    age_s = now_s - heard_s
    if age_s <= defaults.PEER_ELIGIBLE_S:
        return Standing.ELIGIBLE
    if age_s <= defaults.PEER_LISTED_S:
        return Standing.LISTED
    return Standing.REMEMBERED if age_s <= defaults.PEER_FORGOTTEN_S else Standing.EXPIRED


def step(record: PeerRecord | None, event: Event, now_s: float) -> PeerRecord | None:
    """Return what is known of a peer after `event`, given what was known before it (None: nothing).

    A heartbeat replaces everything: a model that it does not name is served no more.
    """
    match event:
        case Heartbeat(peer=peer, flags=flags, offers=offers):
            return PeerRecord(peer, flags, offers, now_s)
        case Forgotten():
            return None
        case Swept():
            gone = record is None or standing(record.heard_s, now_s) is Standing.EXPIRED
            return None if gone else record
        case _:
            assert_never(event)

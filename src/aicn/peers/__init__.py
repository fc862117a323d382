"""The other nodes: what they say of themselves, how long it counts, and what this node says of itself."""

from aicn.peers.admission import Admission
from aicn.peers.changes import Changes
from aicn.peers.directory import Directory, Instances
from aicn.peers.heartbeat import Served, build_heartbeat, describe_models, read_heartbeat
from aicn.peers.heartbeater import Heartbeater
from aicn.peers.inbox import HeartbeatInbox, Outcome
from aicn.peers.persist import KnownPeer, KnownPeers
from aicn.peers.records import Forgotten, Heartbeat, NodeFlags, Offer, PeerRecord, Standing, Swept, standing, step

__all__ = [
    "Admission",
    "Changes",
    "Directory",
    "Forgotten",
    "Heartbeat",
    "HeartbeatInbox",
    "Heartbeater",
    "Instances",
    "KnownPeer",
    "KnownPeers",
    "NodeFlags",
    "Offer",
    "Outcome",
    "PeerRecord",
    "Served",
    "Standing",
    "Swept",
    "build_heartbeat",
    "describe_models",
    "read_heartbeat",
    "standing",
    "step",
]

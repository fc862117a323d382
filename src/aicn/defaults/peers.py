"""What is known of the other nodes, and what is told them."""

from __future__ import annotations

from typing import Final

PEER_ELIGIBLE_S: Final = 600.0
"""A peer takes requests while it was heard in the last 10 min: three heartbeats of the usual 180 s may be lost."""

PEER_LISTED_S: Final = 43_200.0
"""Lists of projects, models and peers go back 12 h, as the reference's do."""

CHANGES_KEPT: Final = 512
"""Changes of a model's instances, or of the connections, that can be caught up with one by one; whoever has missed more
looks at all anew."""

PEER_FORGOTTEN_S: Final = 86_400.0
"""A peer not heard for 24 h is deleted, as the reference does."""

PEER_MAX_OFFERS: Final = 512
"""Instances remembered of one peer: as many as one of our own nodes can register."""

DIRECTORY_MAX_PEERS: Final = 10_000
"""Peers remembered; at about 1 KB each 10 MB, and ten times the largest network seen."""

DIRECTORY_MAX_OFFERS: Final = 100_000
"""Instances remembered of all peers together: ten a peer, some 30 MB with names of common length."""

HEARTBEAT_SOURCES_MAX: Final = 2 * DIRECTORY_MAX_PEERS
"""Peers whose heartbeats are counted, some 300 bytes each: half of them may be strangers."""

HEARTBEAT_BURST: Final = 20
"""Heartbeats taken from one peer at once; a reference node sends one whenever a request begins or ends."""

HEARTBEATS_PER_S: Final = 2.0
"""Heartbeats taken from one peer in the long run: twice what our nodes send at most."""

HEARTBEAT_MIN_GAP_S: Final = 1.0
"""Shortest time between two heartbeats of ours: changes in between are sent as one."""

REPLAY_MEMORY_S: Final = 3_600.0
"""How long the newest heartbeat of a silent peer bars older ones: far longer than a candidate lives, short
enough for a node whose clock was set back to be heard again."""

KNOWN_PEERS_MAX: Final = 1_000
"""Peers whose addresses are kept for the next start; the oldest go first."""

KNOWN_PEER_MAX_AGE_S: Final = 2_592_000.0
"""30 days: an address that has not answered for so long belongs to somebody else by now."""

KNOWN_PEERS_WRITE_DELAY_S: Final = 5.0
"""Connections come in bursts, one after another at every start; this gathers a burst into one write."""

KNOWN_PEER_MAX_ADDRS: Final = 8
"""Addresses kept of one peer, the latest first."""

KNOWN_ADDR_MAX_BYTES: Final = 512
"""Longest address kept: a relayed one with two peer ids has some 200 bytes."""

INTRODUCTION_GAP_S: Final = 5.0
"""Between two heartbeats that are sent only because peers have come: they reach everybody, not just those."""

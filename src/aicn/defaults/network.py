"""Connections to other nodes: whom to dial, and how many to keep."""

from __future__ import annotations

from typing import Final

REDIAL_FIRST_S: Final = 1.0
"""First wait before a bootstrap peer is dialled again; doubles up to `REDIAL_LAST_S`."""

REDIAL_LAST_S: Final = 60.0
"""Longest wait before a bootstrap peer is dialled again: a restarted Input is found within a minute."""

RENDEZVOUS_FIRST_S: Final = 5.0
"""First wait between two looks into the DHT; doubles up to `RENDEZVOUS_LAST_S`."""

RENDEZVOUS_LAST_S: Final = 120.0
"""Longest wait between two looks into the DHT: a new Input is found by all Workers within minutes."""

RENDEZVOUS_MAX_PEERS: Final = 200
"""Peers dialled from one look into the DHT."""

DIAL_PARALLEL_MAX: Final = 16
"""Dials under way at once."""

DIAL_ADDRS_MAX: Final = 8
"""Addresses tried for one peer: a hostile provider record may list thousands."""

DIAL_REMEMBERED_MAX: Final = 200
"""Peers of earlier runs dialled at the start."""

DIAL_TIMEOUT_S: Final = 15.0
"""`Swarm.DialTimeout` where the file has none: TCP's second retransmission of a lost opening still fits."""

BOOTSTRAP_MAX_ADDRS: Final = 256
"""Bootstrap addresses that can be added over HTTP: each is dialled for as long as the node runs."""

CONNECTIONS_CHECK_S: Final = 5.0
"""Between two looks at connections that were too many, and too young or too busy to be closed."""

CONNECTIONS_HIGH_WATER: Final = 400
"""`Swarm.ConnMgr.HighWater` where the file has none, as in the reference."""

CONNECTIONS_LOW_WATER: Final = 100
"""`Swarm.ConnMgr.LowWater` where the file has none, as in the reference."""

RELAYS_MAX: Final = 4
"""Relays through which a node is called at once: one may fail, and one more may be restarted meanwhile."""

RELAY_RETRY_FIRST_S: Final = 5.0
"""First wait before a relay that refused is asked again; doubles up to `RELAY_RETRY_LAST_S`."""

RELAY_RETRY_LAST_S: Final = 300.0
"""Longest wait before a relay that refused is asked again: full relays get room as others leave."""

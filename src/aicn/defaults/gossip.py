"""Gossip, and the questions that are asked and answered over it."""

from __future__ import annotations

from typing import Final

GOSSIP_MAX_BYTES: Final = 1_048_576
"""Largest gossip message of the network, 1 MiB."""

GOSSIP_MAX_PARTS: Final = 20_000
"""Repeated entries in one message: several times what the largest honest node tells."""

GOSSIP_QUESTION_MAX_BYTES: Final = GOSSIP_MAX_BYTES - 4_096
"""Largest question or answer that is published: the frame around it (ids, signature, key, topic) counts towards the
1 MiB, and a longer frame makes a peer reset its gossip stream."""

GOSSIP_ANSWER_READ_MAX_BYTES: Final = 4_194_304
"""Bytes read of a model server's JSON for an answer over gossip: with every letter escaped it may be several times
longer than what it says; what is still longer cannot fit."""

ASK_INFO_TIMEOUT_S: Final = 120.0
"""Longest wait for the identity, hardware or models of a node, as in the reference."""

ASK_CHAT_TIMEOUT_S: Final = 180.0
"""Longest wait for a chat over gossip, as in the reference."""

ASK_IMAGE_TIMEOUT_S: Final = 300.0
"""Longest wait for images over gossip, as in the reference."""

ASK_MAX_PENDING: Final = 1_024
"""Questions of this node that wait for a reply."""

ASK_REMEMBERED: Final = 1_024
"""Questions that ended last: what still comes in reply to them is dropped unread."""

LEGACY_PROBE_TIMEOUT_S: Final = 5.0
"""Longest wait for a sign of life from a node that cannot be dialled, before a request is sent to it over gossip."""

REFUSAL_MAX_CHARS: Final = 1_024
"""Characters kept of the text of an error reply: it ends up in answers and logs."""

QUESTION_ID_MAX_CHARS: Final = 64
"""Longest id of a question; a UUID has 36."""

QUESTION_BURST: Final = 64
"""Questions taken from one peer at once."""

QUESTIONS_PER_S: Final = 8.0
"""Questions taken from one peer in the long run: several times what the busiest reference Input measured asks."""

QUESTION_SOURCES_MAX: Final = 10_000
"""Peers whose questions are counted; those longest silent are forgotten, some 2 MB."""

QUESTION_IDS_REMEMBERED: Final = 50_000
"""Questions remembered so that none is answered twice, some 10 MB at worst."""

QUESTION_MAX_AGE_S: Final = 600.0
"""A question this much older than the newest of its sender, by the sender's own clock, was recorded and is sent
again; longer than gossip takes, shorter than ids are remembered."""

ANSWERING_MAX: Final = 256
"""Questions being answered at once. Most wait for a model server; each holds at most `GOSSIP_ANSWER_READ_MAX_BYTES`."""

ANSWERING_MAX_PER_PEER: Final = 64
"""Questions of one peer being answered at once."""

"""API keys: what each may use, and what each has used."""

from __future__ import annotations

from typing import Final

LIMIT_CONCURRENT: Final = 1_000
"""Requests of users under way in a node: each costs some 30 KB; all others wait for their turn."""

LIMIT_QUEUE_LENGTH: Final = 100
"""Requests of one key that may wait: enough for a batch job's burst, few enough to be served within the timeout."""

LIMIT_SETTLE_S: Final = 0.25
"""How long a request waits for tokens that are held for others of its key: one whose answer has just been read ends
within milliseconds."""

LIMIT_MOST: Final = 100_000
"""Largest number of requests that a limit may name."""

KEYS_MAX: Final = 100_000
"""API keys of a node, some 500 bytes each in memory."""

KEYS_POLL_S: Final = 1.0
"""How often a node looks whether another process has changed its keys: a revoked key works for so long."""

KEY_MAX_CHARS: Final = 256
"""Longest key that is looked at; ours have 51 characters."""

TOKEN_BYTES: Final = 4
"""Bytes of a request per token of its question, for the guess that is made before it is answered."""

TOKENS_GUESSED_MAX: Final = 32_768
"""Of one request, by its bytes: what is longer is mostly images, which have few tokens for their size."""

ANSWER_TOKENS_GUESSED: Final = 256
"""Of an answer that its caller does not bound, until the answers to a key have told better: some 200 words."""

REQUEST_TOKENS_MAX: Final = 4_194_304
"""Most tokens that one question, or one answer, is believed to have: no model reads or writes that many."""

USAGE_MAX_BYTES: Final = 4_096
"""Longest `usage` object that is read; the longest known have some 500 bytes."""

LEDGER_WRITE_DELAY_S: Final = 1.0
"""Time in which what was used gathers before it is written: what a node that is killed forgets."""

LEDGER_PENDING_MAX: Final = 10_000
"""Sums by key, model and node that may wait while the disk does not take them."""

LEDGER_KEPT_DAYS: Final = 800
"""Days that the ledger goes back: two years, and some weeks to close the books of the second."""

LEDGER_PLACES_PER_DAY: Final = 50_000
"""Sums of one day by key, model and node, some 150 bytes each; what is beyond them is summed up by key alone."""

LEDGER_NAME_MAX_CHARS: Final = 256
"""Characters kept of a name; those of models of this program are shorter."""

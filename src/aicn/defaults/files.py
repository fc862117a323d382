"""What is kept on the disk: the configuration, the datastore, and the history in it."""

from __future__ import annotations

from typing import Final

CONFIG_MAX_BYTES: Final = 4_194_304
"""4 MiB: with the largest registry the file has 1 MB; whatever is larger was named by mistake."""

CONFIG_LOCK_TIMEOUT_S: Final = 10.0
"""Wait for another writer of the same file; one takes milliseconds, or a second on a tired disk."""

STORE_KEY_MAX_BYTES: Final = 512
"""UTF-8 length of a namespace or key; the longest of ours is a peer id."""

STORE_VALUE_MAX_BYTES: Final = 1_048_576
"""Length of a value: a thousand times what we keep of one peer."""

STORE_NAMESPACE_MAX_ITEMS: Final = 100_000
"""Keys in one namespace: a hundred times the peers that are remembered."""

STORE_MAX_PENDING: Final = 1_024
"""Calls that wait for the writer thread; a caller beyond that waits before it takes a place."""

STORE_QUARANTINED_MAX: Final = 3
"""Corrupt files that are kept for a look; the oldest is deleted beyond that."""

HISTORY_MAX_ENTRIES: Final = 100_000
"""`AICN.History.MaxEntries` where the file has none: some 20 MB, and a month of two requests a minute."""

HISTORY_ENTRIES_LIMIT: Final = 10_000_000
"""Largest `AICN.History.MaxEntries`: some 2 GB of disk."""

HISTORY_PENDING_MAX: Final = 10_000
"""Requests that wait to be written; those beyond are counted as lost, so that a slow disk slows no request."""

HISTORY_WRITE_DELAY_S: Final = 0.5
"""Requests end in bursts; this gathers them into one write, and a person looking sees them at once all the same."""

HISTORY_BATCH_MAX: Final = 1_000
"""Requests written, or deleted, in one transaction: some 10 ms of the writer thread, which others wait for."""

HISTORY_PRUNE_GAP_S: Final = 60.0
"""Between two looks for requests that are too old or too many."""

HISTORY_PROMPT_MAX_BYTES: Final = 16_384
"""Bytes kept of the words of one request: some 4,000 tokens; a longer one is cut."""

HISTORY_PROMPTS_MAX: Final = 10_000
"""Requests whose words are kept; with the longest of all 160 MiB of disk."""

HISTORY_NAME_MAX_CHARS: Final = 256
"""Characters kept of a name: a caller may ask for a model whose name is longer than any that exists."""

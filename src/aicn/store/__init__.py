"""What a node remembers over its restarts: keys and values, and who asked what of its models, in one SQLite file."""

from aicn.store.history import Entry, History
from aicn.store.history_reader import HistoryReader, Kept, Query
from aicn.store.keys import ApiKey, KeyFile, KeyLimits, list_keys, read_keys
from aicn.store.kv import Store
from aicn.store.ledger import Ledger, Sums

__all__ = [
    "ApiKey",
    "Entry",
    "History",
    "HistoryReader",
    "Kept",
    "KeyFile",
    "KeyLimits",
    "Ledger",
    "Query",
    "Store",
    "Sums",
    "list_keys",
    "read_keys",
]

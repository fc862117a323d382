"""What a node remembers over its restarts: keys and values, and who asked what of its models, in one SQLite file."""

from aicn.store.history import Entry, History
from aicn.store.history_reader import HistoryReader, Kept, Query
from aicn.store.kv import Store

__all__ = ["Entry", "History", "HistoryReader", "Kept", "Query", "Store"]

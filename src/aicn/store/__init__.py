"""What a node remembers over its restarts: keys and values in one SQLite file."""

from aicn.store.kv import Store

__all__ = ["Store"]

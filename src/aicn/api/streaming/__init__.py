"""What is done to a stream of events on its way: usage asked for, silence filled, a break continued elsewhere."""

from aicn.api.streaming.continuation import Continuation, continuable
from aicn.api.streaming.keepalive import KeepAlive
from aicn.api.streaming.usage import UsageFilter, with_usage

__all__ = ["Continuation", "KeepAlive", "UsageFilter", "continuable", "with_usage"]

"""What is done to a stream of events on its way: usage asked for, silence filled, a break continued elsewhere."""

from aicn.api.streaming.asking import StreamedRequest, StreamSettings
from aicn.api.streaming.continuation import Continuation, continuable
from aicn.api.streaming.events import EventRelay, Passage
from aicn.api.streaming.keepalive import KeepAlive
from aicn.api.streaming.usage import UsageFilter

__all__ = [
    "Continuation",
    "EventRelay",
    "KeepAlive",
    "Passage",
    "StreamSettings",
    "StreamedRequest",
    "UsageFilter",
    "continuable",
]

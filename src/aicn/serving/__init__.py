"""Answering other nodes: requests that arrive on streams go to the model servers beside this node."""

from aicn.serving.stream import ChatProxyServer

__all__ = ["ChatProxyServer"]

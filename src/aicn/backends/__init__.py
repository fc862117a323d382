"""The HTTP client to the model servers on this machine."""

from aicn.backends.client import BackendClient, BackendReply

__all__ = ["BackendClient", "BackendReply"]

"""The HTTP client to the model servers on this machine."""

from aicn.backends.client import BackendClient, BackendReply
from aicn.backends.documents import DocumentReader

__all__ = ["BackendClient", "BackendReply", "DocumentReader"]

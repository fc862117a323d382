"""The HTTP client to the model servers on this machine."""

from aicn.backends.client import BackendClient, BackendReply
from aicn.backends.documents import DocumentReader
from aicn.backends.probe import probe

__all__ = ["BackendClient", "BackendReply", "DocumentReader", "probe"]

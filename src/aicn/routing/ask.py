"""What is asked of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.ids import ModelName, ProjectName
from aicn.routing.body import StreamedBody


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for one model."""

    project: ProjectName
    model: ModelName
    body: bytes | StreamedBody = field(repr=False)
    """The request body exactly as the model server shall see it."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """End-to-end headers for the model server, names in lower case, without Content-Length."""
    endpoint: Endpoint = Endpoint.CHAT
    """What is asked for. The peer finds it at its model server from the URL that is registered."""
    first_byte_timeout_s: float = defaults.FIRST_BYTE_TIMEOUT_S
    """From the end of the request to the head of its answer."""
    first_content_timeout_s: float | None = None
    """From the beginning of an attempt to the first content of its answer; None: only what bounds all attempts."""
    idle_timeout_s: float = defaults.ANSWER_IDLE_TIMEOUT_S
    session: str | None = None
    """What requests of one conversation have in common: they go to the same node while it is good."""

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more."""
        return isinstance(self.body, bytes) or self.body.repeatable

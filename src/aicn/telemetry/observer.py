"""Who is told of each use of a model: the seam between the paths of requests and history and metrics.

The paths of requests call one observer, on both sides of the network: where a client asks (`Side.INPUT`) and where
the model answers (`Side.WORKER`). They know nothing of what it keeps.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from aicn import errors
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName


class Side(StrEnum):
    """Where a use is seen."""

    INPUT = "input"
    """The node that the client asked."""
    WORKER = "worker"
    """The node whose model server answers."""


class Outcome(StrEnum):
    """How a use ended."""

    OK = "ok"
    """The whole answer was handed on."""
    CLIENT_GONE = "client_gone"
    """Whoever asked hung up, or reset its stream, before the end."""
    CUT = "cut"
    """The answer broke off after its first byte."""
    REFUSED = "refused"
    """The node itself refused: a body that is too large, no memory left, a shutdown."""
    NO_CANDIDATE = "no_candidate"
    """Nobody serves the model."""
    UNREACHABLE = "unreachable"
    """Somebody serves it, but could not be reached or broke off before the first byte."""
    UPSTREAM_ERROR = "upstream_error"
    """The model server answered with an error, or not at all."""
    TIMEOUT = "timeout"
    """Somebody was silent for too long."""
    INTERNAL = "internal"
    """The node failed in a way that it should not."""


class Use(Protocol):
    """One use of one model. Calls are synchronous, cheap, and never raise; `end` comes exactly once, and last."""

    def body(self, data: bytes) -> None:
        """Take the whole request body. Called at most once, and only if the observer wants bodies and it is held."""
        ...

    def served_by(self, peer: PeerId, cid: InstanceId, attempts: int) -> None:
        """Learn who answers in the end, and how many peers were tried. Called at most once, on the input's side."""
        ...

    def first_byte(self) -> None:
        """The first content of the answer is here. Called at most once, before any `part`."""
        ...

    def part(self, data: bytes) -> None:
        """Take a part of the answer, as it passes."""
        ...

    def end(self, outcome: Outcome, status: int | None) -> None:
        """It is over; `status` is the HTTP status of the answer, None if none was given."""
        ...


class Observer(Protocol):
    """Is told of each use of a model.

    Attributes:
        wants_body: whether request bodies are handed over.
    """

    @property
    def wants_body(self) -> bool:
        """Whether `Use.body` is to be called. Asked for each use."""
        ...

    def begin(
        self,
        side: Side,
        kind: ModelKind,
        project: ProjectName,
        model: ModelName,
        cid: InstanceId,
        peer: PeerId | None,
        caller: str,
    ) -> Use:
        """Take note of a use that begins.

        Args:
            side: where it is seen.
            kind: what is asked for.
            project: of the model.
            model: which one.
            cid: the instance that was asked for, on the worker's side the one that answers; empty for any.
            peer: who is to answer: on the worker's side this node, on the input's side the one that the client
                named, None where this node is to choose.
            caller: who asks: the client's address, on the worker's side the peer id.
        """
        ...


class _NoUse:
    def body(self, data: bytes) -> None: ...

    def served_by(self, peer: PeerId, cid: InstanceId, attempts: int) -> None: ...

    def first_byte(self) -> None: ...

    def part(self, data: bytes) -> None: ...

    def end(self, outcome: Outcome, status: int | None) -> None: ...


_NO_USE = _NoUse()


class NoObserver:
    """Keeps nothing."""

    wants_body = False

    def begin(
        self,
        side: Side,  # noqa: ARG002
        kind: ModelKind,  # noqa: ARG002
        project: ProjectName,  # noqa: ARG002
        model: ModelName,  # noqa: ARG002
        cid: InstanceId,  # noqa: ARG002
        peer: PeerId | None,  # noqa: ARG002
        caller: str,  # noqa: ARG002
    ) -> Use:
        """Return a use that nobody looks at."""
        return _NO_USE


_OUTCOMES: tuple[tuple[type[errors.AicnError], Outcome], ...] = (
    (errors.NoCandidate, Outcome.NO_CANDIDATE),
    (errors.RoutingError, Outcome.UNREACHABLE),
    (errors.BackendTimeout, Outcome.TIMEOUT),
    (errors.BackendError, Outcome.UPSTREAM_ERROR),
    (errors.NetworkTimeout, Outcome.TIMEOUT),
    (errors.NetworkError, Outcome.UNREACHABLE),
    (errors.RegistryError, Outcome.REFUSED),
    (errors.WireError, Outcome.REFUSED),
)


def outcome_of(error: errors.AicnError) -> Outcome:
    """Return how a use ended that failed with `error` before the first byte of its answer."""
    cause = error.__cause__
    if isinstance(error, errors.RoutingError) and isinstance(cause, errors.AicnError):
        # All peers that were tried failed: the last one's reason says more.
        return outcome_of(cause)
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), Outcome.INTERNAL)

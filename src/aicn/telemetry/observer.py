"""Who is told of each use of a model: the seam between the paths of requests and history and metrics.

The paths of requests call one observer, on both sides of the network: where a client asks (`Side.INPUT`) and where
the model answers (`Side.WORKER`). They know nothing of what it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from aicn import errors
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName, RequestId


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
    """The node itself refused: a body that is too large, a key without rights, no memory left, a shutdown."""
    LIMITED = "limited"
    """The node refused because its limits, or those of the caller's key, were reached."""
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


class Occasion(NamedTuple):
    """What is known of a use when it begins."""

    side: Side
    """Where it is seen."""
    endpoint: Endpoint
    """What is asked for."""
    project: ProjectName
    model: ModelName
    cid: InstanceId
    """The instance that was asked for, on the worker's side the one that answers; empty for any."""
    peer: PeerId | None
    """Who is to answer: on the worker's side this node, which may be None for it; on the input's side the one that
    the client named, None where this node is to choose."""
    caller: str
    """Who asks: the client's address, on the worker's side the peer id."""
    request_id: RequestId = RequestId("")
    """Names the request on its whole way; empty where a peer gave it none."""
    key: str = ""
    """Id of the API key that the client used; empty: none."""
    traceparent: str = ""
    """W3C's header, as the client sent it; not checked."""
    request_bytes: int = 0
    """Size of what is asked, as far as it is made of words."""


class Spent(NamedTuple):
    """What a use on the input's side has cost.

    Of an answer that other nodes went on with the tokens of all parts are summed up: each node has read the question.
    Tokens that nobody told, because the client left before the end or the model server does not count, are guessed
    from what passed: whoever leaves early has read all the same.
    """

    occasion: Occasion
    peer: str
    """Who answered, or began to; empty if nobody did."""
    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int
    images: int


Spend = Callable[[Spent], None]
"""Told of each use on the input's side when it is over. Synchronous, cheap, and never raises."""


class Use(Protocol):
    """One use of one model. Calls are synchronous, cheap, and never raise; `end` comes exactly once, and last."""

    def body(self, data: bytes) -> None:
        """Take the whole request body. Called at most once, and only if the observer wants bodies and it is held."""
        ...

    def queued(self, seconds: float) -> None:
        """Learn how long it had to wait for its turn. Called at most once, on the input's side."""
        ...

    def served_by(self, peer: PeerId, cid: InstanceId, attempts: int) -> None:
        """Learn who answers in the end, and how many peers were tried. Called at most once, on the input's side."""
        ...

    def failed_after(self, attempts: int) -> None:
        """Learn that nobody answers, after so many peers were tried. Instead of `served_by`."""
        ...

    def first_byte(self) -> None:
        """The first content of the answer is here. Called at most once, before any `part`."""
        ...

    def part(self, data: bytes) -> None:
        """Take a part of the answer, as it passes."""
        ...

    def continued(self) -> tuple[int, int]:
        """Another node goes on with an answer that broke off: every `part` from now on is of that node's answer.

        Return the tokens of question and answer so far, which count besides those to come; guessed where nobody told
        them.
        """
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

    def begin(self, occasion: Occasion) -> Use:
        """Take note of a use that begins."""
        ...


class _NoUse:
    def body(self, data: bytes) -> None: ...

    def queued(self, seconds: float) -> None: ...

    def served_by(self, peer: PeerId, cid: InstanceId, attempts: int) -> None: ...

    def failed_after(self, attempts: int) -> None: ...

    def first_byte(self) -> None: ...

    def part(self, data: bytes) -> None: ...

    def continued(self) -> tuple[int, int]:
        return 0, 0

    def end(self, outcome: Outcome, status: int | None) -> None: ...


_NO_USE = _NoUse()


class NoObserver:
    """Keeps nothing."""

    wants_body = False

    def begin(self, occasion: Occasion) -> Use:  # noqa: ARG002
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
    (errors.TruncatedFrame, Outcome.UPSTREAM_ERROR),
    (errors.WireError, Outcome.REFUSED),
)


def outcome_of(error: errors.AicnError) -> Outcome:
    """Return how a use ended that failed with `error` before the first byte of its answer."""
    cause = error.__cause__
    if isinstance(error, errors.RoutingError) and isinstance(cause, errors.AicnError):
        # All peers that were tried failed: the last one's reason says more.
        return outcome_of(cause)
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), Outcome.INTERNAL)

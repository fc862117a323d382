"""Questions of other nodes over gossip, answered: who this node is, what it runs on, what it serves, and requests.

The nodes that exist ask like this for everything that is not streamed. A question counts if its signer is the node
that it names, its body is sealed for this node, and its id is new; each is answered once, or not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import (
    AicnError,
    BackendRefused,
    BackendTimeout,
    MalformedMessage,
    MessageTooLong,
    NetworkError,
    RegistryError,
    SealError,
)
from aicn.identity import PrivateKey
from aicn.ids import PeerId
from aicn.serving.facts import NodeFacts
from aicn.serving.gossip_models import GossipModels
from aicn.serving.question_gate import QuestionGate
from aicn.tally import Tally
from aicn.wire.codes import Code
from aicn.wire.envelope import Request, build_error, build_reply, open_request
from aicn.wire.messages import (
    AIProjectRequest,
    ChatCompletionRequest,
    HostInfoRequest,
    ImageGenerationRequest,
    Message,
    PeerIdentityRequest,
    RequestBody,
    ResponseBody,
    encode_message,
)

_log = logging.getLogger("aicn.serving")

Publish = Callable[[bytes], Awaitable[object]]
"""Sends a payload to everybody on the topic of this network."""


class QuestionOutcome(StrEnum):
    """What became of a message to this node that is no reply."""

    TAKEN = "taken"
    """A question; it is being answered."""
    REFUSED = "refused"
    """Not sealed, or too much is under way: answered with an error."""
    REPEATED = "repeated"
    """Its sender has asked that before; it gets no second answer."""
    MALFORMED = "malformed"
    """No question that can be understood, or in the name of another node; dropped."""
    TOO_MANY = "too_many"
    """Not read: its sender has used up its allowance."""


class GossipServer:
    """Answers questions over gossip. Use from one event loop.

    Attributes:
        outcomes: how many messages ended in each way, for metrics.
    """

    def __init__(
        self,
        own_key: PrivateKey,
        publish: Publish,
        clock: Clock,
        client_version: str = "",
        *,
        facts: NodeFacts,
        models: GossipModels,
        gate: QuestionGate | None = None,
    ) -> None:
        """Answer nothing yet.

        Args:
            own_key: identity of this node, which also signs the gossip.
            publish: sends a payload to the network.
            clock: dates the answers, and measures the rate of each sender.
            client_version: this program and its version, as identify tells them.
            facts: what this node tells of itself.
            models: asks the model servers.
            gate: limits to use instead of the usual ones.
        """
        self._own = own_key
        self._publish = publish
        self._clock = clock
        self._client_version = client_version
        self._facts = facts
        self._models = models
        self._gate = QuestionGate(clock) if gate is None else gate
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Tally[PeerId] = Tally()
        self._draining = False
        self.outcomes: Counter[QuestionOutcome] = Counter()

    @property
    def under_way(self) -> int:
        """How many questions are being answered."""
        return self._under_way.total()

    def receive(self, message: Message, source: PeerId) -> QuestionOutcome:
        """Take in a message to this node that is no reply to a question of its own. Never raises for what it holds.

        Args:
            message: as it came.
            source: who signed it.
        """
        outcome = self._receive(message, source)
        self.outcomes[outcome] += 1
        return outcome

    def _receive(self, message: Message, source: PeerId) -> QuestionOutcome:
        header = message.header
        if not self._gate.spend(source):
            return QuestionOutcome.TOO_MANY
        if header.node_id != source or message.result_code or len(header.id) > defaults.QUESTION_ID_MAX_CHARS:
            return QuestionOutcome.MALFORMED
        if not self._gate.is_new(source, header.id, header.timestamp):
            return QuestionOutcome.REPEATED
        try:
            request = _open(message, self._own)
        except SealError as error:
            self._refuse(message, Code.DECRYPT, f"the request is not sealed for this node: {error}")
        except MalformedMessage as error:
            _log.debug("a message of peer %s is dropped: %s", source, error)
            return QuestionOutcome.MALFORMED
        else:
            if self._admit(message, request):
                return QuestionOutcome.TAKEN
        return QuestionOutcome.REFUSED

    def _admit(self, message: Message, request: Request) -> bool:
        """Begin to answer, or refuse to."""
        if self._draining:
            self._refuse(message, Code.INTERNAL, "this node is shutting down; ask another one")
            return False
        of_sender = self._under_way[request.sender]
        if self.under_way >= defaults.ANSWERING_MAX or of_sender >= defaults.ANSWERING_MAX_PER_PEER:
            self._refuse(message, Code.INTERNAL, "this node answers too many questions at once; ask again later")
            return False
        self._under_way[request.sender] += 1
        self._spawn(self._answer(message, request))
        return True

    def _refuse(self, message: Message, code: Code, text: str) -> None:
        """Answer with an error, unless so much is under way that not even that can be afforded."""
        if len(self._tasks) < 2 * defaults.ANSWERING_MAX:
            self._spawn(self._send(self._error(message, code, text)))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message, request: Request) -> None:
        try:
            payload = await self._reply(message, request)
            await self._send(payload)
        finally:
            self._under_way.take(request.sender)

    async def _reply(self, message: Message, request: Request) -> bytes:
        limit_s = _limit_s(request.body)
        try:
            async with asyncio.timeout(limit_s):
                body = await self._work(request)
            payload = self._encode(body, request)
        except TimeoutError:
            return self._error(message, Code.TIMEOUT, f"the model server did not answer within {limit_s:g} s")
        except AicnError as error:
            # A model server's own words may repeat the question: they are for whoever asked it.
            said = error.slug if isinstance(error, BackendRefused) else error
            _log.info("a question of peer %s failed: %s", request.sender, said)
            return self._error(message, _code_of(error), str(error))
        return payload

    def _encode(self, body: ResponseBody, request: Request) -> bytes:
        try:
            reply = build_reply(
                body, request, self._own, now_unix=self._clock.unix(), client_version=self._client_version
            )
            payload = encode_message(reply)
        except MessageTooLong:
            raise
        except MalformedMessage as error:
            raise BackendRefused(f"the answer cannot be sent: {error}") from error
        if len(payload) > defaults.GOSSIP_QUESTION_MAX_BYTES:
            raise MessageTooLong(
                f"the answer of {len(payload)} bytes is longer than gossip carries "
                f"({defaults.GOSSIP_QUESTION_MAX_BYTES} bytes); ask for less, or over a stream"
            )
        return payload

    async def _work(self, request: Request) -> ResponseBody:
        match request.body:
            case PeerIdentityRequest():
                return self._facts.identity()
            case HostInfoRequest():
                return await self._facts.hardware()
            case AIProjectRequest():
                return self._facts.projects(reveal_api=False)
            case ChatCompletionRequest() as asked:
                return await self._models.chat(asked, request.sender)
            case ImageGenerationRequest() as asked:
                return await self._models.image(asked, request.sender)

    def _error(self, message: Message, code: int, text: str) -> bytes:
        text = text[: defaults.REFUSAL_MAX_CHARS]
        return encode_message(
            build_error(
                code, text, message, self._own, now_unix=self._clock.unix(), client_version=self._client_version
            )
        )

    async def _send(self, payload: bytes) -> None:
        try:
            await self._publish(payload)
        except NetworkError as error:
            # Whoever asked will find out by itself; it has a limit on its patience as this node has.
            _log.info("an answer over gossip could not be sent: %s", error)

    async def drain(self) -> None:
        """Take no questions any more, let those under way end for `defaults.SHUTDOWN_GRACE_S`, cancel the rest."""
        self._draining = True
        tasks = list(self._tasks)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=defaults.SHUTDOWN_GRACE_S)
        if late:
            _log.warning("%d questions over gossip were under way when the node stopped; they are cut", len(late))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _open(message: Message, own: PrivateKey) -> Request:
    if not message.header.node_pub_key:
        raise SealError("it names no key of its sender")
    return open_request(message, own)


def _limit_s(body: RequestBody) -> float:
    """Return how long whoever asks waits for the answer: after that nobody reads it."""
    match body:
        case ChatCompletionRequest():
            return defaults.ASK_CHAT_TIMEOUT_S
        case ImageGenerationRequest():
            return defaults.ASK_IMAGE_TIMEOUT_S
        case _:
            return defaults.ASK_INFO_TIMEOUT_S


def _code_of(error: AicnError) -> int:
    if isinstance(error, BackendRefused):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.INTERNAL)


_CODES: tuple[tuple[type[AicnError], Code], ...] = (
    (RegistryError, Code.MODEL),
    (BackendTimeout, Code.TIMEOUT),
    (MessageTooLong, Code.BUFFER),
    (MalformedMessage, Code.PARAMETER),
    (AicnError, Code.MODEL),
)
"""The first matching row counts; what else fails is the model server."""

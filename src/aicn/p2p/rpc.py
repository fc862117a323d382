"""Questions to other nodes over gossip: sealed, and answered by the node that was asked or by nobody.

All nodes hear every message of their topic, so a reply is believed only if the node that was asked has signed it,
names itself in it, and answers with the id and the type of the question.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aicn import defaults
from aicn.clock import Clock
from aicn.errors import AicnError, HostClosed, MessageTooLong, NetworkError, NetworkTimeout, Overloaded, PeerRefused
from aicn.identity import PrivateKey, PublicKey
from aicn.ids import PeerId
from aicn.wire.envelope import build_request, open_reply
from aicn.wire.messages import Message, MessageType, RequestBody, ResponseBody, encode_message, type_of

_log = logging.getLogger("aicn.p2p")

Publish = Callable[[bytes], Awaitable[object]]
"""Sends a payload to everybody on the topic of this network."""

_TIMEOUTS_S = {
    MessageType.CHAT_COMPLETION: defaults.ASK_CHAT_TIMEOUT_S,
    MessageType.IMAGE_GENERATION: defaults.ASK_IMAGE_TIMEOUT_S,
}


class ReplyOutcome(StrEnum):
    """What became of a message that might be a reply."""

    NOT_ASKED = "not_asked"
    """Nothing was asked under its id: no reply to this node."""
    TAKEN = "taken"
    """The reply that was waited for."""
    UNREADABLE = "unreadable"
    """From the node that was asked, but not to be understood; the question has failed."""
    FOREIGN = "foreign"
    """From another node than the one that was asked, or of another type; the question still waits."""
    REPEATED = "repeated"
    """A reply to a question that has ended already."""


@dataclass(slots=True)
class _Question:
    peer: PeerId
    type: MessageType
    answer: asyncio.Future[ResponseBody]


class Rpc:
    """Asks other nodes and takes in their replies. Use from one event loop.

    Attributes:
        outcomes: how many replies ended in each way, for metrics; `NOT_ASKED` is none.
    """

    def __init__(
        self,
        own_key: PrivateKey,
        publish: Publish,
        clock: Clock,
        client_version: str = "",
        *,
        max_pending: int = defaults.ASK_MAX_PENDING,
    ) -> None:
        """Ask nothing yet.

        Args:
            own_key: identity of this node, which also signs the gossip.
            publish: sends a payload to the network.
            clock: dates the questions.
            client_version: this program and its version, as identify tells them.
            max_pending: questions that may wait at once.
        """
        self._own = own_key
        self._publish = publish
        self._clock = clock
        self._client_version = client_version
        self._max_pending = max_pending
        self._pending: dict[str, _Question] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._closed = False
        self.outcomes: Counter[ReplyOutcome] = Counter()

    @property
    def pending(self) -> int:
        """How many questions wait for a reply."""
        return len(self._pending)

    async def ask(self, peer: PeerId, body: RequestBody, *, timeout_s: float | None = None) -> ResponseBody:
        """Ask `peer` and return what it answers. Cancel it at any time: a late reply does no harm.

        Args:
            peer: who is asked; it need not be connected.
            body: the question.
            timeout_s: how long to wait; by default what the reference waits for this kind of question.

        Raises:
            AddressError, IdentityError: `peer` is no peer id of this network.
            PeerRefused: it answered with an error, or with something else than was asked for.
            NetworkTimeout: no reply in time: it is not there, or does not answer.
            Overloaded: too many questions wait.
            WireError: the question is too long, or the answer cannot be read.
            NetworkError: the question could not be sent, or is to this node itself.
        """
        key = PublicKey.from_peer_id(peer)
        if key == self._own.public:
            raise NetworkError("this node does not hear its own gossip and cannot ask itself; ask another one")
        if self._closed:
            raise HostClosed("this node is stopping and asks nobody any more")
        if len(self._pending) >= self._max_pending:
            raise Overloaded(f"{len(self._pending)} questions to other nodes wait for replies; try again later")
        if timeout_s is None:
            timeout_s = _TIMEOUTS_S.get(type_of(body), defaults.ASK_INFO_TIMEOUT_S)
        message = build_request(body, self._own, key, now_unix=self._clock.unix(), client_version=self._client_version)
        payload = encode_message(message)
        if len(payload) > defaults.GOSSIP_QUESTION_MAX_BYTES:
            raise MessageTooLong(
                f"a question of {len(payload)} bytes is longer than gossip carries "
                f"({defaults.GOSSIP_QUESTION_MAX_BYTES} bytes); send less"
            )
        return await self._await_reply(message, peer, payload, timeout_s)

    async def _await_reply(self, message: Message, peer: PeerId, payload: bytes, timeout_s: float) -> ResponseBody:
        id_ = message.header.id
        question = _Question(peer, message.type, asyncio.get_running_loop().create_future())
        self._pending[id_] = question
        try:
            async with asyncio.timeout(timeout_s):
                await self._publish(payload)
                return await question.answer
        except TimeoutError as error:
            raise NetworkTimeout(f"node {peer} did not answer within {timeout_s:g} s") from error
        finally:
            del self._pending[id_]
            self._ended[id_] = None
            if len(self._ended) > defaults.ASK_REMEMBERED:
                self._ended.popitem(last=False)
            if question.answer.done() and not question.answer.cancelled():
                # Retrieved here too, for the case that the reply and a cancellation came together.
                question.answer.exception()

    def receive(self, message: Message, source: PeerId) -> ReplyOutcome:
        """Take in a message to this node that may be a reply. Never raises for what a peer sent.

        Args:
            message: as it came.
            source: who signed it.

        Returns:
            What became of it; with `NOT_ASKED` it may be a question of another node.
        """
        outcome = self._receive(message, source)
        if outcome is not ReplyOutcome.NOT_ASKED:
            self.outcomes[outcome] += 1
        return outcome

    def _receive(self, message: Message, source: PeerId) -> ReplyOutcome:
        id_ = message.header.id
        question = self._pending.get(id_)
        if question is None:
            return ReplyOutcome.REPEATED if id_ in self._ended else ReplyOutcome.NOT_ASKED
        if source != question.peer or message.header.node_id != source or message.type != question.type:
            _log.debug("a reply to a question to %s came from %s and is dropped", question.peer, source)
            return ReplyOutcome.FOREIGN
        if question.answer.done():
            return ReplyOutcome.REPEATED
        try:
            reply = open_reply(message, self._own, question.peer)
        except AicnError as error:
            question.answer.set_exception(error)
            return ReplyOutcome.UNREADABLE
        if reply.body is None:
            question.answer.set_exception(PeerRefused(_readable(reply.message) or "no reason given", reply.code))
        else:
            question.answer.set_result(reply.body)
        return ReplyOutcome.TAKEN

    def close(self) -> None:
        """End every question that waits with `HostClosed`, and ask nothing more. Idempotent."""
        self._closed = True
        for question in self._pending.values():
            if not question.answer.done():
                question.answer.set_exception(HostClosed("this node is stopping; ask again when it runs"))


def _readable(text: str) -> str:
    """Return a peer's words as far as they may stand in an answer or a line of a log."""
    kept = text[: defaults.REFUSAL_MAX_CHARS]
    return kept if kept.isprintable() else "".join(each if each.isprintable() else " " for each in kept)

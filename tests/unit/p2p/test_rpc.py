"""Questions over gossip: whom a reply is believed from, and what ends the waiting."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import (
    AddressError,
    HostClosed,
    IdentityError,
    MessageTooLong,
    NetworkError,
    NetworkTimeout,
    Overloaded,
    PeerRefused,
    PublishFailed,
    SealError,
)
from aicn.identity import PrivateKey
from aicn.ids import PeerId
from aicn.p2p.rpc import ReplyOutcome, Rpc
from aicn.wire.envelope import build_error, build_reply, open_request
from aicn.wire.messages import (
    AIProjectRequest,
    AIProjectResponse,
    ChatCompletionRequest,
    ChatRequestMessage,
    HostInfoRequest,
    HostInfoResponse,
    Message,
    MessageType,
    OSInfo,
    RequestBody,
    ResponseBody,
    decode_message,
)

ASKED, OTHER = PrivateKey.generate(), PrivateKey.generate()
ANSWER = HostInfoResponse(os=OSInfo(os="linux"))
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


class Network:
    """What a node publishes, and an `Rpc` that asks over it."""

    def __init__(self, **limits: int) -> None:
        self.own = PrivateKey.generate()
        self.clock = ManualClock()
        self.published: asyncio.Queue[bytes] = asyncio.Queue()
        self.rpc = Rpc(self.own, self.published.put, self.clock, "test", **limits)
        self.asking: list[asyncio.Task[ResponseBody]] = []

    async def ask(self, body: RequestBody | None = None, timeout_s: float = 60) -> Message:
        """Ask, and return the question as it was published."""
        self.asking.append(
            asyncio.create_task(self.rpc.ask(ASKED.public.peer_id, body or HostInfoRequest(), timeout_s=timeout_s))
        )
        return decode_message(await self.published.get())

    def hear(self, message: Message, signer: PrivateKey = ASKED) -> ReplyOutcome:
        """Receive a message."""
        return self.rpc.receive(message, signer.public.peer_id)


def reply_to(question: Message, body: ResponseBody = ANSWER) -> Message:
    return build_reply(body, open_request(question, ASKED), ASKED, now_unix=0)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network()
    yield network
    for task in network.asking:
        task.cancel()
    await asyncio.gather(*network.asking, return_exceptions=True)
    assert network.rpc.pending == 0


async def test_question_is_sealed_and_dated_and_its_reply_returned(network: Network) -> None:
    question = await network.ask()
    request = open_request(question, ASKED)
    assert (request.sender, request.body) == (network.own.public.peer_id, HostInfoRequest())
    assert (question.header.client_version, question.header.timestamp) == ("test", int(network.clock.unix()))
    assert network.hear(reply_to(question)) is ReplyOutcome.TAKEN
    assert await network.asking[0] == ANSWER


async def test_each_of_many_gets_its_own_reply(network: Network) -> None:
    questions = [await network.ask() for _ in range(20)]
    assert network.rpc.pending == 20
    for number, question in reversed(list(enumerate(questions))):
        network.hear(reply_to(question, HostInfoResponse(os=OSInfo(os=str(number)))))
    answers = await asyncio.gather(*network.asking)
    assert [one.os.os for one in answers if isinstance(one, HostInfoResponse) and one.os] == [
        str(number) for number in range(20)
    ]


async def test_forged_replies_are_dropped_and_the_question_waits(network: Network) -> None:
    question = await network.ask()
    true = reply_to(question)
    as_other = replace(true, header=replace(true.header, node_id=OTHER.public.peer_id))
    forgeries = [
        (true, OTHER),  # the true words, signed by another
        (as_other, OTHER),  # in its own name
        (as_other, ASKED),
        (build_error(1007, "forged", question, OTHER, now_unix=0), OTHER),
        (replace(build_error(1007, "forged", question, ASKED, now_unix=0)), OTHER),
        (replace(true, type=MessageType.AI_PROJECT), ASKED),
    ]
    for message, signer in forgeries:
        assert network.hear(message, signer) is ReplyOutcome.FOREIGN
    assert network.rpc.outcomes[ReplyOutcome.FOREIGN] == len(forgeries)
    assert network.hear(true) is ReplyOutcome.TAKEN
    assert await network.asking[0] == ANSWER


async def test_unreadable_reply_of_who_was_asked_ends_the_waiting(network: Network) -> None:
    question = await network.ask()
    assert network.hear(replace(reply_to(question), body=b"not sealed")) is ReplyOutcome.UNREADABLE
    with pytest.raises(SealError):
        await network.asking[0]


async def test_same_reply_twice_harms_nothing(network: Network) -> None:
    question = await network.ask()
    reply = reply_to(question)
    assert network.hear(reply) is ReplyOutcome.TAKEN
    assert network.hear(reply) is ReplyOutcome.REPEATED  # before whoever asked has woken up
    assert await network.asking[0] == ANSWER
    assert network.hear(reply) is ReplyOutcome.REPEATED
    assert network.hear(build_error(1, "late", question, ASKED, now_unix=0)) is ReplyOutcome.REPEATED


async def test_what_was_not_asked_is_none_of_its_replies(network: Network) -> None:
    question = await Network().ask()
    assert network.hear(question) is ReplyOutcome.NOT_ASKED
    assert not network.rpc.outcomes, "it is no reply to be counted"


async def test_error_reply_carries_code_and_message(network: Network) -> None:
    question = await network.ask()
    network.hear(build_error(1012, "no\nhardware" + "x" * 5_000, question, ASKED, now_unix=0))
    with pytest.raises(PeerRefused) as caught:
        await network.asking[0]
    assert caught.value.code == 1012
    assert str(caught.value).startswith("no hardwarex")
    assert len(str(caught.value)) == defaults.REFUSAL_MAX_CHARS


async def test_silence_is_a_timeout_that_names_the_node(network: Network) -> None:
    with pytest.raises(NetworkTimeout, match=rf"{ASKED.public.peer_id} did not answer within 0.01 s"):
        await network.rpc.ask(ASKED.public.peer_id, AIProjectRequest(), timeout_s=0.01)
    assert network.rpc.pending == 0


async def test_cancelled_question_leaves_nothing(network: Network) -> None:
    question = await network.ask()
    network.asking[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await network.asking[0]
    assert network.rpc.pending == 0
    assert network.hear(reply_to(question)) is ReplyOutcome.REPEATED


async def test_error_that_comes_with_a_cancellation_is_not_reported_as_lost(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    question = await network.ask()
    network.hear(build_error(1, "no", question, ASKED, now_unix=0))
    network.asking[0].cancel()
    await asyncio.gather(*network.asking, return_exceptions=True)
    network.asking.clear()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_self_is_never_asked(network: Network) -> None:
    with pytest.raises(NetworkError, match="itself"):
        await network.rpc.ask(network.own.public.peer_id, HostInfoRequest())
    assert network.published.empty()


@pytest.mark.parametrize(("peer", "error"), [("nobody", AddressError), (RSA_PEER, IdentityError)])
async def test_only_peers_of_this_network_can_be_asked(network: Network, peer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await network.rpc.ask(PeerId(peer), HostInfoRequest())


async def test_questions_that_wait_are_bounded() -> None:
    network = Network(max_pending=2)
    questions = [await network.ask() for _ in range(2)]
    with pytest.raises(Overloaded):
        await network.rpc.ask(ASKED.public.peer_id, HostInfoRequest())
    network.hear(reply_to(questions[0]))
    await network.asking[0]
    network.hear(reply_to(await network.ask()))
    network.hear(reply_to(questions[1]))
    assert await asyncio.gather(*network.asking) == [ANSWER] * 3


async def test_question_that_is_too_long_is_never_published(network: Network) -> None:
    content = b'"' + b"x" * (defaults.GOSSIP_QUESTION_MAX_BYTES - 100) + b'"'
    with pytest.raises(MessageTooLong, match="longer than gossip carries"):
        await network.rpc.ask(
            ASKED.public.peer_id, ChatCompletionRequest("P", "m", (ChatRequestMessage("user", content),))
        )
    assert network.published.empty()


async def test_failure_to_publish_is_told() -> None:
    async def fail(_: bytes) -> None:
        raise PublishFailed("nobody listens")

    rpc = Rpc(PrivateKey.generate(), fail, ManualClock())
    with pytest.raises(PublishFailed):
        await rpc.ask(ASKED.public.peer_id, HostInfoRequest())
    assert rpc.pending == 0


async def test_close_ends_the_waiting_and_asks_nothing_more(network: Network) -> None:
    question = await network.ask()
    network.rpc.close()
    network.rpc.close()
    with pytest.raises(HostClosed):
        await network.asking[0]
    with pytest.raises(HostClosed):
        await network.rpc.ask(ASKED.public.peer_id, HostInfoRequest())
    assert network.hear(reply_to(question)) is ReplyOutcome.REPEATED


async def test_memory_of_questions_that_ended_is_bounded(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "ASK_REMEMBERED", 2)
    replies = []
    for number in range(3):
        replies.append(reply_to(await network.ask(AIProjectRequest()), AIProjectResponse()))
        network.hear(replies[number])
        await network.asking[number]
    assert [network.hear(reply) for reply in replies] == [
        ReplyOutcome.NOT_ASKED,
        ReplyOutcome.REPEATED,
        ReplyOutcome.REPEATED,
    ]

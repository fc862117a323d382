"""Questions and answers over gossip, and what is offered there: the part of the oracle for messages of the network."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Final, Self

from aicn.ids import PeerId
from interop.oracle_process import OracleProcess

MODEL_ERROR: Final = 1007
DECRYPT_ERROR: Final = 1014


class Asks(IntEnum):
    """What a message asks for, as the network numbers it."""

    PEER_IDENTITY = 0
    HOST_INFO = 1
    AI_PROJECT = 2
    CHAT = 16
    IMAGE = 17


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a Go Worker offers: `type` 0 chat, 1 image generation, 2 image edit."""

    project: str
    model: str
    api: str = "http://127.0.0.1:9009/v1/chat/completions"
    type: int = 0
    cid: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A question or a reply as it came."""

    id: str
    signer: PeerId
    """Who signed the gossip message."""
    node_id: str
    """Who the header says it is from."""
    receiver: str
    client_version: str
    timestamp: int
    type: Asks
    code: int
    message: str
    sealed: bool
    size: int
    """Of the whole message, in bytes."""
    exact: bool
    """Every byte of it and of its body is as a Go program of the network would have written it."""
    question: dict[str, Any] | None
    """By the names of the fields; bytes are hex; a field at its default is missing."""
    answer: dict[str, Any] | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Return what an event or a reply of the oracle tells."""
        names = (
            "id",
            "node_id",
            "receiver",
            "client_version",
            "timestamp",
            "code",
            "message",
            "sealed",
            "size",
            "exact",
        )
        return cls(
            signer=PeerId(told["from"]),
            type=Asks(told["type"]),
            question=told["question"],
            answer=told["answer"],
            **{name: told[name] for name in names},
        )


class OracleDialogue(OracleProcess):
    """What an oracle asks, answers and offers."""

    async def ask(
        self,
        peer: PeerId,
        what: Asks,
        body: Mapping[str, Any] | None = None,
        *,
        id_: str = "",
        plain: bool = False,
        no_key: bool = False,
        timeout_ms: int = 20_000,
    ) -> Said:
        """Ask `peer` and return the first reply, whoever it is from; `OracleFailed` if none came.

        Args:
            peer: who is asked.
            what: type of the message.
            body: of the request.
            id_: of the request; a fresh one by default.
            plain: leave the body unsealed.
            no_key: leave the key out of the header.
            timeout_ms: how long to wait.
        """
        id_ = id_ or str(uuid.uuid4())
        return Said.of(
            await self.call(
                "ask",
                peer=peer,
                id=id_,
                type=what,
                body=dict(body or {}),
                plain=plain,
                no_key=no_key,
                timeout_ms=timeout_ms,
            )
        )

    async def say(
        self,
        peer: PeerId,
        what: Asks,
        body: Mapping[str, Any] | None = None,
        *,
        plain: bool = False,
        no_key: bool = False,
    ) -> str:
        """Ask as `ask` does, but wait for nothing; return the id. A reply will be an event `replied`."""
        id_ = str(uuid.uuid4())
        await self.call(
            "ask", peer=peer, id=id_, type=what, body=dict(body or {}), plain=plain, no_key=no_key, no_wait=True
        )
        return id_

    async def asked(self, what: Asks) -> Said:
        """Return the next question of that type that was put to it."""
        return Said.of(await self.event("asked", type=what))

    async def replied(self, id_: str) -> Said:
        """Return the next reply with that id which nobody waits for."""
        return Said.of(await self.event("replied", id=id_))

    async def answer(  # noqa: PLR0913 - the members of a plan
        self,
        what: Asks,
        body: Mapping[str, Any] | None = None,
        *,
        kind: str = "",
        code: int = 0,
        message: str = "",
        bare: bool = False,
        copies: int = 1,
        overheard: bool = False,
        as_asked: bool = False,
    ) -> None:
        """Set how questions of a type are answered from now on.

        Args:
            what: type of the message.
            body: of the answer.
            kind: `own` (what it has to say itself), `answer` (`body`), `error` (`code` and `message`), `silent` or
                `hold` (once `release` says so); by default what the other arguments make of it.
            code: of the reply.
            message: of the reply.
            bare: reply without a body.
            copies: how many times the reply is published.
            overheard: reply to the questions to others instead.
            as_asked: in the name of who was asked.
        """
        kind = kind or ("error" if code else "own" if body is None else "answer")
        await self.call(
            "answer",
            type=what,
            kind=kind,
            body=None if body is None else dict(body),
            code=code,
            message=message,
            bare=bare,
            copies=copies,
            overheard=overheard,
            as_asked=as_asked,
        )

    async def release(self, id_: str) -> None:
        """Answer a question that was held back."""
        await self.call("release", id=id_)

    async def offer(self, *models: Model, node_type: int = 4) -> None:
        """Offer `models` in place of all before, and tell it in a heartbeat, now and as requests begin and end."""
        await self.call("offer", models=[asdict(one) for one in models], node_type=node_type)

    async def read(self, data: bytes) -> Said:
        """Return what a message to this peer says; `OracleFailed` if it is none or does not open."""
        return Said.of(await self.call("read", data=data.hex()))


def texts(said: Said, name: str) -> Sequence[str]:
    """Return a repeated text of an answer."""
    assert said.answer is not None
    found: list[str] = said.answer.get(name, [])
    return found

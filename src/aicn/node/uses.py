"""What becomes of each use of a model: a row of the history, a line of the log, and what metrics count."""

from __future__ import annotations

import json
import logging
import re
from typing import Final

import msgspec

from aicn import defaults
from aicn.clock import Clock
from aicn.endpoints import WRITTEN
from aicn.ids import InstanceId, ModelKind, PeerId
from aicn.store import Entry, History
from aicn.telemetry import Metrics, ModelLabels, Occasion, Outcome, Side, Spend, Spent, Use, metrics
from aicn.telemetry.traces import Traces
from aicn.telemetry.usage import ImageReader, TokenReader
from aicn.wire.json_members import NO_JSON

_log = logging.getLogger("aicn.requests")

_READ: Final = frozenset({Outcome.OK, Outcome.CLIENT_GONE, Outcome.CUT})
"""How a use ends of which the client has read at least a part."""

_EVENT: Final = b"data:"
"""Each event of a stream has one token, about."""

_PARSED_MAX_BYTES: Final = 1_048_576
"""Of a longer request the beginning is kept as it stands: finding its words would take the loop milliseconds."""


class UseRecorder:
    """The node's `aicn.telemetry.Observer`. Use from one event loop."""

    def __init__(self, counted: Metrics, own_id: PeerId, clock: Clock, *, keeps_prompts: bool) -> None:
        """Count in `counted`; keep a history once `keep_in` has named one.

        Args:
            counted: gets the numbers.
            own_id: this node, who answers what it is asked as a worker.
            clock: measures.
            keeps_prompts: whether the words of requests go into the history.
        """
        self.counted = counted
        self.own_id = own_id
        self.clock = clock
        self.history: History | None = None
        self.spend: Spend | None = None
        """Told of what each use of a client has cost."""
        self.traces: Traces | None = None
        self.models = ModelLabels()
        self._keeps_prompts = keeps_prompts

    @property
    def wants_body(self) -> bool:
        """Whether request bodies are handed over."""
        return self._keeps_prompts and self.history is not None

    def keep_in(self, history: History) -> None:
        """Keep every use that begins from now on."""
        self.history = history

    def begin(self, occasion: Occasion) -> Use:
        """Take note of a use that begins."""
        return _Recorded(self, occasion)


class _Recorded:
    __slots__ = (
        "_answered",
        "_attempts",
        "_before",
        "_began_s",
        "_began_unix_s",
        "_body",
        "_bytes",
        "_cid",
        "_events",
        "_first_s",
        "_images",
        "_kind",
        "_occasion",
        "_peer",
        "_queued_s",
        "_recorder",
        "_tokens",
    )

    def __init__(self, recorder: UseRecorder, occasion: Occasion) -> None:
        self._recorder = recorder
        self._occasion = occasion
        self._kind = occasion.endpoint.operation
        self._peer: str = occasion.peer or (recorder.own_id if occasion.side is Side.WORKER else "")
        self._cid = occasion.cid
        self._attempts = 0
        self._answered = False
        self._queued_s = 0.0
        self._body = b""
        self._bytes = 0
        self._events = 0
        self._tokens = TokenReader()
        self._before: tuple[int, int] | None = None
        """Tokens of question and answer at nodes that broke off, if others went on."""
        self._images = None if occasion.endpoint.kind is ModelKind.CHAT else ImageReader()
        self._first_s: float | None = None
        self._began_unix_s = recorder.clock.unix()
        self._began_s = recorder.clock.monotonic()
        recorder.counted.add(metrics.IN_FLIGHT, (occasion.side, self._kind))

    def body(self, data: bytes) -> None:
        self._body = data

    def queued(self, seconds: float) -> None:
        self._queued_s = seconds

    def served_by(self, peer: PeerId, cid: InstanceId, attempts: int) -> None:
        self._peer = peer
        self._cid = cid
        self._attempts = attempts
        self._answered = True

    def failed_after(self, attempts: int) -> None:
        self._attempts = attempts

    def first_byte(self) -> None:
        self._first_s = self._recorder.clock.monotonic()

    def part(self, data: bytes) -> None:
        self._bytes += len(data)
        self._tokens.feed(data)
        self._events += data.count(_EVENT)
        if self._images is not None:
            self._images.feed(data)

    def continued(self) -> tuple[int, int]:
        self._before = self._with_before(*self._guessed_tokens())
        self._tokens = TokenReader()
        self._events = 0
        return self._before

    def end(self, outcome: Outcome, status: int | None) -> None:
        ended_s = self._recorder.clock.monotonic()
        self._count(outcome, ended_s)
        entry = self._entry(outcome, status, ended_s)
        if self._recorder.history is not None:
            self._recorder.history.add(entry, _words(self._body))
        if _log.isEnabledFor(logging.INFO):
            _log.info("%s", log_line(entry))
        if self._recorder.traces is not None:
            self._trace(self._recorder.traces, outcome, entry)
        if self._occasion.side is Side.INPUT and self._recorder.spend is not None:
            self._recorder.spend(
                Spent(
                    self._occasion,
                    self._peer,
                    outcome,
                    *self._spent_tokens(outcome),
                    self._images.images if self._images is not None else 0,
                )
            )

    def _spent_tokens(self, outcome: Outcome) -> tuple[int, int]:
        """Return the tokens of question and answer, guessed where the answer has begun and did not tell them."""
        read = self._first_s is not None and outcome in _READ
        if read and self._occasion.endpoint in WRITTEN:
            return self._with_before(*self._guessed_tokens())
        return self._with_before(self._tokens.prompt_tokens or 0, self._tokens.completion_tokens or 0)

    def _guessed_tokens(self) -> tuple[int, int]:
        """Return the tokens of question and answer at the node that answers now, guessed where it did not tell."""
        prompt, completion = self._tokens.prompt_tokens, self._tokens.completion_tokens
        if prompt is None:
            prompt = self._occasion.request_bytes // defaults.TOKEN_BYTES
        return prompt, self._events if completion is None else completion

    def _with_before(self, prompt: int, completion: int) -> tuple[int, int]:
        before = self._before or (0, 0)
        return prompt + before[0], completion + before[1]

    def _told_tokens(self) -> tuple[int | None, int | None]:
        """Return the tokens that were told; of an answer in parts those of all, guessed where one did not tell."""
        if self._before is None:
            return self._tokens.prompt_tokens, self._tokens.completion_tokens
        return self._with_before(*self._guessed_tokens())

    def _trace(self, traces: Traces, outcome: Outcome, entry: Entry) -> None:
        began_ns = int(self._began_unix_s * 1e9)
        first_ms = entry.first_byte_ms
        facts = {
            "http.response.status_code": entry.status,
            "gen_ai.usage.input_tokens": entry.prompt_tokens,
            "gen_ai.usage.output_tokens": entry.completion_tokens,
            "aicn.node": entry.peer,
            "aicn.attempts": entry.attempts,
            "aicn.queue_ms": entry.queue_ms,
        }
        times_ns = (
            began_ns,
            None if first_ms is None else began_ns + int(first_ms * 1e6),
            began_ns + int(entry.total_ms * 1e6),
        )
        traces.record(self._occasion, outcome, times_ns, {k: v for k, v in facts.items() if v is not None})

    def _count(self, outcome: Outcome, ended_s: float) -> None:
        counted = self._recorder.counted
        # A worker is asked only for what it serves; elsewhere, somebody who answers shows that there is such a model.
        occasion = self._occasion
        exists = occasion.side is Side.WORKER or self._answered
        model = self._recorder.models.of(occasion.project, occasion.model, exists=exists)
        labels = (occasion.side, self._kind, *model)
        counted.add(metrics.IN_FLIGHT, (occasion.side, self._kind), -1)
        counted.add(metrics.REQUESTS, (*labels, outcome.value))
        counted.observe(metrics.DURATION, labels, ended_s - self._began_s)
        if self._bytes:
            counted.add(metrics.ANSWER_BYTES, labels, self._bytes)
        if self._attempts:
            counted.add(metrics.ATTEMPTS, (self._kind,), self._attempts)
        if self._queued_s:
            counted.observe(metrics.QUEUE_TIME, (self._kind,), self._queued_s)
        if self._images is not None and self._images.images:
            counted.add(metrics.IMAGES, labels, self._images.images)
        prompt, completion = self._told_tokens()
        if prompt:
            counted.add(metrics.TOKENS, (*labels, "input"), prompt)
        if completion:
            counted.add(metrics.TOKENS, (*labels, "output"), completion)
        if self._first_s is not None and outcome in _READ:
            counted.observe(metrics.FIRST_TOKEN, labels, self._first_s - self._began_s)
            # What comes whole comes at once: how long its tokens took nobody has seen.
            if completion and completion > 1 and self._events > 1:
                counted.observe(metrics.TOKEN_TIME, labels, (ended_s - self._first_s) / (completion - 1))

    def _entry(self, outcome: Outcome, status: int | None, ended_s: float) -> Entry:
        first_s = self._first_s
        occasion = self._occasion
        prompt, completion = self._told_tokens()
        return Entry(
            at_unix_ms=int(self._began_unix_s * 1_000),
            side=occasion.side.value,
            kind=self._kind,
            project=_name(occasion.project),
            model=_name(occasion.model),
            cid=_name(self._cid),
            caller=_name(occasion.caller),
            peer=_name(self._peer),
            attempts=self._attempts,
            outcome=outcome.value,
            status=status,
            first_byte_ms=None if first_s is None else round((first_s - self._began_s) * 1_000, 3),
            total_ms=round((ended_s - self._began_s) * 1_000, 3),
            prompt_tokens=prompt,
            completion_tokens=completion,
            images=None if self._images is None else self._images.images,
            answer_bytes=self._bytes,
            request_id=_name(occasion.request_id),
            key=_name(occasion.key),
            queue_ms=round(self._queued_s * 1_000, 3),
        )


def log_line(entry: Entry) -> str:
    """Return one use as `name=value` pairs: what `aicn history` has of it, and nothing that a user wrote."""
    return " ".join(f"{name}={_value(getattr(entry, name))}" for name in _LOGGED)


_LOGGED: Final = (
    *("request_id", "side", "kind", "project", "model", "cid", "caller", "key", "peer", "attempts", "outcome"),
    *("status", "queue_ms", "first_byte_ms", "total_ms", "prompt_tokens", "completion_tokens", "images"),
    "answer_bytes",
)

_PLAIN: Final = re.compile(r"[\w.:/@+-]+")


def _value(value: str | float | None) -> str:
    if value is None:
        return "-"
    text = str(value)
    # What a terminal would obey, or would show in another order than it stands, is written as escapes.
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())


def _name(text: str) -> str:
    """Return what of a name can be kept: not too long, and nothing that UTF-8 cannot hold."""
    cut = text[: defaults.HISTORY_NAME_MAX_CHARS]
    return cut if cut.isascii() else cut.encode(errors="replace").decode()


class _Words(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")


def _words(body: bytes) -> str | None:
    """Return what a request asks, as the JSON of its messages or its prompt; None if there is nothing to keep."""
    if not body:
        return None
    found: bytes | memoryview = body
    if len(body) <= _PARSED_MAX_BYTES:
        try:
            words = msgspec.json.decode(body, type=_Words)
        except NO_JSON:
            return None
        found = bytes(words.messages) or bytes(words.prompt)
    return bytes(found[: defaults.HISTORY_PROMPT_MAX_BYTES]).decode(errors="replace") or None

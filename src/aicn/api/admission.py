"""What a caller may use now: models, requests and tokens per minute, tokens per month, requests at once.

A request that finds its caller's or the node's places taken waits for its turn in the caller's own line; one that is
beyond a rate is refused at once, with the time after which it may come again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aicn import defaults
from aicn.api.demand import Demand
from aicn.api.errors import ApiError, Code
from aicn.api.fair_queue import FairQueue, QueueFull, QueueTimeout
from aicn.api.principal import NO_LIMITS, Principal
from aicn.api.rates import Averages, Bucket, Buckets
from aicn.clock import Clock, SystemClock
from aicn.store.keys import KeyLimits
from aicn.tally import Tally

Headers = tuple[tuple[bytes, bytes], ...]

Release = Callable[[], None]
"""Lets go of what is held for a request."""

_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on."""

    queued_s: float
    """How long it waited."""
    headers: Headers
    """What the caller is told of its limits."""


class _Held(ApiError):
    """What lacks is tokens, of which some are held for requests under way."""


def _now(release: Release) -> None:
    release()


class Admission:
    """Admits requests. Use from one event loop."""

    def __init__(self, queue: FairQueue, clock: Clock, month_tokens: Callable[[str], int] = lambda _: 0) -> None:
        """Give turns by `queue`.

        Args:
            queue: of the node.
            clock: for rates.
            month_tokens: tells how many tokens a key has used this month.
        """
        self.queue = queue
        self._clock = clock
        self._month_tokens = month_tokens
        self._requests = Buckets()
        self._tokens = Buckets()
        self._usual = Averages()
        self._arriving: Tally[str] = Tally()
        """Requests whose bodies are being read, by line of the queue."""
        self._held: Tally[str] = Tally()
        """Tokens that the requests under way are expected to take, by key."""
        self._let_go = asyncio.Event()
        """Set when some are held no longer; then there is a new one."""

    @contextmanager
    def arriving(self, principal: Principal) -> Iterator[None]:
        """Count one request while its body is read: there may be no more than can stand in the caller's line.

        Raises:
            ApiError: there are (429). Whoever sends bodies a byte at a time would take all connections.
        """
        if self._arriving[principal.queue] >= self.queue.most_of(principal.limits.concurrent):
            raise self._no_turn("as many requests of this caller are arriving as may wait for their turn")
        self._arriving[principal.queue] += 1
        try:
            yield
        finally:
            self._arriving.take(principal.queue)

    @asynccontextmanager
    async def admit(
        self,
        principal: Principal,
        project: str,
        model: str,
        demand: Demand | None,
        at_end: Callable[[Release], None] = _now,
    ) -> AsyncIterator[Admitted]:
        """Let one request in; it has its place until its block ends.

        Args:
            principal: who asks.
            project: of the model.
            model: which one.
            demand: from which its tokens are guessed until the answer tells them; None: it takes none.
            at_end: given what lets go of those tokens, to be called when `spent` has been told what was used instead:
                in between, the caller would have both.

        Raises:
            ApiError: the caller may not ask that model (403), or not now (429).
        """
        principal.require(project, model)
        headers, expected = await self._drawn(principal, demand)
        began_s = self._clock.monotonic()
        try:
            async with self.queue.turn(principal.queue, principal.limits.concurrent) as waited:
                yield Admitted(self._clock.monotonic() - began_s if waited else 0.0, headers)
        except QueueFull:
            raise self._no_turn("as many requests of this caller wait for their turn as may") from None
        except QueueTimeout:
            raise self._no_turn("the turn of this request did not come in time") from None
        finally:
            if expected:
                at_end(partial(self._release, principal.key_id, principal.limits, expected))

    def spent(self, principal_key: str, limits: KeyLimits, tokens: int) -> None:
        """Draw the tokens of a request that is over from those that its key has per minute."""
        if tokens and limits.counts_tokens:
            self._usual.learn(principal_key, tokens)
        if limits.tokens_per_minute:
            bucket = self._tokens.of(principal_key, limits.tokens_per_minute, self._clock.monotonic())
            # A debt of more than ten minutes would lock a key out for what one request did.
            bucket.level = max(bucket.level - tokens, -10.0 * limits.tokens_per_minute)

    def _no_turn(self, why: str, kind: type[ApiError] = ApiError) -> ApiError:
        return kind(
            Code.BUFFER,
            f"{why}; ask for less at once, or again in a moment",
            _TOO_MANY,
            slug="too_many_requests",
            retry_after_s=1.0,
        )

    def _release(self, key: str, limits: KeyLimits, expected: int) -> None:
        """Hold the tokens of a request no longer."""
        if limits.tokens_per_minute:
            bucket = self._tokens.of(key, limits.tokens_per_minute, self._clock.monotonic())
            bucket.level += min(expected, limits.tokens_per_minute)
        self._held.take(key, expected)
        self._let_go.set()
        self._let_go = asyncio.Event()

    def _expected(self, key: str, demand: Demand) -> int:
        """Return how many tokens a request may take; one that tells no bound, as many as others of its key took."""
        asked = min(demand.question_bytes / defaults.TOKEN_BYTES, defaults.TOKENS_GUESSED_MAX)
        if demand.answer_tokens is not None:
            return max(1, math.ceil(asked + demand.answer_tokens))
        usual = self._usual.of(key)
        return math.ceil(max(asked, usual) if usual else asked + defaults.ANSWER_TOKENS_GUESSED)

    async def _drawn(self, principal: Principal, demand: Demand | None) -> tuple[Headers, int]:
        """Draw as `_draw` does, and wait a moment for what requests under way hold.

        Whoever has read the last byte of an answer may ask again before that request has ended here.
        """
        deadline_s = asyncio.get_running_loop().time() + defaults.LIMIT_SETTLE_S
        while True:
            try:
                return self._draw(principal, demand)
            except _Held as refusal:
                if not self._held[principal.key_id]:
                    raise
                try:
                    async with asyncio.timeout_at(deadline_s):
                        await self._let_go.wait()
                except TimeoutError:
                    raise refusal from None

    def _draw(self, principal: Principal, demand: Demand | None) -> tuple[Headers, int]:
        """Draw a request and its tokens from what the key has; return what to tell and how many tokens are held.

        They are guessed, and held while it is under way: else all requests of a burst would find them there.
        """
        limits = principal.limits
        key = principal.key_id
        if not key or limits == NO_LIMITS:
            return (), 0
        now_s = self._clock.monotonic()
        if limits.tokens_per_month and demand is not None:
            self._require_month(key, limits.tokens_per_month)
        # What, from where, how much must be there, and how much is taken.
        drawn: list[tuple[str, Bucket, float, float]] = []
        if limits.requests_per_minute:
            drawn.append(("requests", self._requests.of(key, limits.requests_per_minute, now_s), 1.0, 1.0))
        expected = 0
        if demand is not None and limits.counts_tokens:
            expected = self._expected(key, demand)
        if expected and limits.tokens_per_minute:
            held = min(expected, limits.tokens_per_minute)
            # Half a minute's is enough to begin with: a bound is seldom reached, and all of it is never there while
            # others are under way. What lacks then is a debt.
            needed = min(held, limits.tokens_per_minute / 2)
            drawn.append(("tokens", self._tokens.of(key, limits.tokens_per_minute, now_s), needed, held))
        for what, bucket, needed, _ in drawn:
            missing_s = bucket.missing_s(needed)
            if missing_s > 0:
                kind = _Held if what == "tokens" else ApiError
                raise kind(
                    Code.PERMISSION,
                    f"this key may use {bucket.per_minute} {what} a minute; ask again in {missing_s:.1f} s",
                    _TOO_MANY,
                    slug="rate_limit_exceeded",
                    retry_after_s=missing_s,
                    headers=_told(what, bucket.per_minute, bucket.level),
                )
        headers: Headers = ()
        for what, bucket, _, amount in drawn:
            bucket.level -= amount
            headers += _told(what, bucket.per_minute, bucket.level)
        if expected:
            self._held[key] += expected
        return headers, expected

    def _require_month(self, key: str, limit: int) -> None:
        """Refuse where the month's tokens are used up, or may be once the requests under way have ended.

        Raises:
            ApiError: 429.
        """
        used = self._month_tokens(key)
        if used >= limit:
            raise ApiError(
                Code.PERMISSION,
                f"this key has used its {limit} tokens of this month; its owner sets how many it has",
                _TOO_MANY,
                slug="insufficient_quota",
                retry_after_s=self._month_left_s(),
                # SDKs would ask again a moment later, twice.
                headers=((b"x-should-retry", b"false"),),
            )
        if used + self._held[key] >= limit:
            raise self._no_turn("requests under way may take what is left of this key's month", _Held)

    def _month_left_s(self) -> float:
        now = datetime.fromtimestamp(self._clock.unix(), UTC)
        year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)  # noqa: PLR2004
        return (datetime(year, month, 1, tzinfo=UTC) - now).total_seconds()


def open_admission() -> Admission:
    """Return an admission that lets every request in at once, as long as there are not absurdly many."""
    return Admission(FairQueue(defaults.LIMIT_MOST, defaults.LIMIT_QUEUE_LENGTH, 0.0), SystemClock())


def _told(what: str, per_minute: int, level: float) -> Headers:
    """Return OpenAI's headers for one rate: the limit, what is left, and when all of it will be there again."""
    full_s = (per_minute - level) * 60.0 / per_minute
    name = what.encode()
    return (
        (b"x-ratelimit-limit-" + name, b"%d" % per_minute),
        (b"x-ratelimit-remaining-" + name, b"%d" % max(0, math.floor(level))),
        (b"x-ratelimit-reset-" + name, f"{max(0.0, full_s):.3f}s".encode()),
    )

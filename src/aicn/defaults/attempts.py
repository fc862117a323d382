"""The attempts of one request: how many, how long, and what may be held of them."""

from __future__ import annotations

from typing import Final

ROUTE_MAX_ATTEMPTS: Final = 3
"""Peers tried for one request before its first content byte: the third failure is rarely bad luck."""

ROUTE_ATTEMPTS_LIMIT: Final = 16
"""Most attempts that a configuration may ask for: beyond it one request could keep a whole network busy."""

ROUTE_RETRY_BUDGET: Final = 0.2
"""Attempts after the first as a share of all requests: a network that fails is not buried under repetitions."""

ROUTE_TOTAL_TIMEOUT_S: Final = 600.0
"""From a request to the first content of its answer, all attempts together: a long prefill at three nodes in turn."""

ROUTE_RETRY_FLOOR: Final = 10
"""Repetitions that time alone allows: the next request of a node with few of them may fail as well."""

ROUTE_RETRY_FLOOR_PER_S: Final = 0.5
"""How fast it does: a node that fails all of few requests asks others once more every two seconds."""

ROUTE_RETRY_SAVED: Final = 1_000
"""Most repetitions that requests save up: as many as may be under way when a node that has them all dies."""

FIRST_BYTE_TIMEOUT_S: Final = 180.0
"""From a request to the head of its answer: what the reference allows a chat, prefill included."""

IMAGE_FIRST_BYTE_TIMEOUT_S: Final = 300.0
"""From the end of a request for images to the head of its answer: what the reference allows."""

ANSWER_IDLE_TIMEOUT_S: Final = 180.0
"""Longest silence inside an answer. There is no limit on the whole: a long answer is a good answer."""

FIRST_CONTENT_HELD_MAX_BYTES: Final = 65_536
"""Of an answer that is held until its content begins: no preamble is as long, and a longer one is passed on."""

REFUSAL_TIMEOUT_S: Final = 2.0
"""For the rest of a failed answer, kept in case that nobody answers better: it is short, and others wait for it."""

PREAMBLE_REPEATS: Final = 4
"""How often the events before the content may repeat the request: twice in responses, written out longer."""

PREAMBLE_REPEATED_MAX_BYTES: Final = 1_048_576
"""Of what is held for that, of one answer: ten times what agents send with their requests."""

REFUSAL_KEPT_MAX_BYTES: Final = 65_536
"""Of a failed answer that is kept; a longer one says nothing that anybody reads."""

HEDGE_FACTOR: Final = 3.0
"""A second node is asked when the first is slower by so much than it usually is: few requests wait that long."""

HEDGE_MIN_S: Final = 0.05
"""... but never sooner: below it a second request costs more than the wait."""

CONTINUE_MAX: Final = 3
"""How often one stream is continued elsewhere: a stream that breaks off a fourth time has another reason than nodes."""

CONTINUE_TEXT_MAX_CHARS: Final = 262_144
"""Text that is kept of a stream to continue it, more than any model writes at once; a longer one is not continued."""

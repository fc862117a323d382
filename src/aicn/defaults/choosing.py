"""Choosing among the instances of a model."""

from __future__ import annotations

from typing import Final

RTT_STEP_US: Final = 10_000
"""Peers whose round-trip times differ by less than 10 ms are equally near."""

RTT_UNKNOWN_US: Final = 100_000
"""A peer not measured yet ranks behind the near ones and before the far ones, so that it gets work at once."""

BREAKER_FAILURES: Final = 3
"""Failures in a row after which an instance is left alone: two can be bad luck."""

BREAKER_PAUSE_S: Final = 2.0
"""First pause of an instance that fails: about what a model server takes to start again with its weights cached."""

BREAKER_PAUSE_MAX_S: Final = 60.0
"""Longest pause: a machine that comes back after a day gets work within a minute."""

BREAKER_TRIAL_S: Final = 30.0
"""How long the outcome of a request on trial is awaited before another one is sent."""

BREAKER_BUSY_S: Final = 0.5
"""How long an instance that has refused for want of room is passed over at first."""

BREAKER_BUSY_MAX_S: Final = 8.0
"""... and at most, when it goes on refusing without one good answer: a quota that is used up is no passing crowd."""

UNFIT_REST_S: Final = 60.0
"""How long others are asked first for what an instance has said to be nothing for it: its owner may mend that."""

MEASURED_MAX_INSTANCES: Final = 20_000
"""Instances whose speed is remembered, some 300 bytes each: twice what one model of a large network has."""

MEASURED_FADES_S: Final = 60.0
"""Time in which two thirds of what was measured are forgotten: servers get other neighbours and other models."""

FIRST_CONTENT_GUESS_S: Final = 0.5
"""Time to the first content of a model of which nothing was measured yet."""

TOKEN_GUESS_S: Final = 0.02
"""Time per token of such a model."""

SLOW_READER_S: Final = 1.0
"""An answer that this node has read for so long without waiting for its peer, and for longer than it waited, went as
fast as its client took it: that says nothing of the instance."""

NEWCOMER_BONUS: Final = 0.8
"""What is new counts as somewhat faster than what is known, so that it gets work and is measured."""

USUAL_TOKENS: Final = 100
"""Tokens of an answer in the comparison of instances."""

FAILING_WEIGHT: Final = 4.0
"""How much more a request costs where all recent ones failed: the attempt, its timeout and another attempt."""

RELAY_COST_S: Final = 0.05
"""What a relay adds in the comparison: it is shared, limited, and may end."""

SESSION_MAX_CHARS: Final = 256
"""Of what a client names a conversation by: ids of SDKs have some 40."""

SESSIONS_MAX: Final = 10_000
"""Conversations whose instance is remembered, some 300 bytes each."""

SESSION_REST_S: Final = 1_800.0
"""After half an hour no server has a conversation in its cache."""

SESSION_COST_FACTOR: Final = 3.0
"""How much more than the best other the instance of a conversation may cost: about what reading it anew would."""

CHOOSE_DRAWS: Final = 8
"""Instances looked at by chance for two that can be asked; most can."""

CHOOSE_SCAN: Final = 256
"""Instances looked at in a row where chance found too few: bounds the time of a choice."""

CHOOSE_NODE_INSTANCES: Final = 16
"""Instances of one model at one node that take part in the draws: as many as one machine has graphics cards. A node
that tells of hundreds would be drawn nearly always."""

POOLS_MAX: Final = 1_024
"""Models whose instances are kept sorted by whether they are connected."""

REFERENCE_STREAMS_MAX: Final = 60
"""Requests under way at a node of the reference: it takes 64 streams of a protocol from a peer and resets the rest."""

"""Models: their names, and those that this node serves."""

from __future__ import annotations

from typing import Final

NAME_MAX_BYTES: Final = 256
"""UTF-8 length of a project, model or instance name; a container id has 64, a path-like model name rarely 100."""

MODEL_API_MAX_BYTES: Final = 1_024
"""Length of a model's URL; with `REGISTRY_MAX_MODELS` it keeps the heartbeat below `GOSSIP_MAX_BYTES`."""

MODEL_CONCURRENT_MAX: Final = 1_000_000
"""Of `MaxConcurrent`: a number beyond it is a mistake."""

REGISTRY_MAX_MODELS: Final = 512
"""Instances on one node. Each takes at most 256 + 256 + 256 + 1,024 bytes of the heartbeat and some framing:
0.93 MiB at the very worst, below the 1 MiB that gossip carries."""

NAME_LEFT_S: Final = 600.0
"""For how long a model that nobody names any more counts as away and not as unknown: a server starts in that time."""

NAMES_LEFT_MAX: Final = 1_024
"""Models that count as away; looked through when somebody asks for a name that is not there."""

DRAIN_TIMEOUT_S: Final = 300.0
"""How long whoever drains a model waits for its requests: as long as an image may take to begin."""

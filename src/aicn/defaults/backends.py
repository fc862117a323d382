"""The model servers of this machine, and what asks them."""

from __future__ import annotations

from typing import Final

BACKEND_CONNECT_TIMEOUT_S: Final = 10.0
"""Loopback answers in microseconds; ten seconds cover a server whose accept queue is full."""

BACKEND_IDLE_TIMEOUT_S: Final = 600.0
"""Longest silence of a model server: as long as a node waits that asks for an answer which comes when it is whole."""

BACKEND_KEEPALIVE_S: Final = 4.0
"""Below the 5 s after which common servers close an idle connection, so that none is used as it closes."""

BACKEND_MAX_CONNECTIONS: Final = 1_024
"""Open connections to all model servers together."""

BACKEND_READ_BUFFER_BYTES: Final = 262_144
"""Bytes of an answer held before reading pauses."""

DRAWN_IMAGES_MAX: Final = 10
"""Images of one request to a server that is asked in its own words: as many as OpenAI's API draws at most."""

DRAWN_PIXELS_MAX: Final = 16_777_216
"""... and pixels of all of them: 4096 x 4096. Beyond it, one request would keep a machine busy for hours."""

DRAWN_POLL_S: Final = 0.25
"""From one look at whether an image is drawn to the next; drawing one takes seconds."""

TAKE_BACK_TIMEOUT_S: Final = 5.0
"""For a server to be told that nobody waits for an image any more."""

DISCOVERY_ASK_TIMEOUT_S: Final = 2.0
"""Silence of a model server that is asked what it is: these routes do no work, but its machine may."""

DISCOVERY_SERVER_TIMEOUT_S: Final = 10.0
"""To find out what listens on one port: a dozen questions at most."""

DISCOVERY_ANSWER_MAX_BYTES: Final = 4_194_304
"""4 MiB: the list of a server with a thousand models, each described at length."""

DISCOVERY_MAX_MODELS: Final = 512
"""Models of one server that are looked at: as many as a node may register."""

HEALTH_TIMEOUT_S: Final = 5.0
"""For the answer of a model server that is asked whether it is there; the question costs it nothing."""

HEALTH_WORD_TIMEOUT_S: Final = 2.0
"""For what it says of its health besides: whoever shows its list of models lives, even if it says nothing of that."""

HEALTH_MISSES: Final = 2
"""Questions in a row that a server leaves without an answer until it is withdrawn; one may be bad luck."""

HEALTH_JITTER: Final = 0.2
"""Share of the interval that chance takes off it, so that the nodes of one machine do not ask in step."""

HEALTH_REST_S: Final = 1.0
"""Between two questions out of turn: failures come in crowds."""

HEALTH_PROBES_MAX: Final = 16
"""Servers asked at once."""

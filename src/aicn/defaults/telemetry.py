"""Logs, metrics and traces."""

from __future__ import annotations

from typing import Final

LOG_FILE_MAX_BYTES: Final = 104_857_600
"""100 MiB, then the file is put aside and a new one begun."""

LOG_FILES_KEPT: Final = 3
"""Files put aside that are kept; with the current one 400 MiB of disk at most."""

LOG_LINE_MAX_CHARS: Final = 16_384
"""Longest line: a deep traceback fits, and what a peer sent does not fill the disk by one line."""

LOG_WAIT_S: Final = 0.05
"""Longest time that a terminal or pipe nobody reads may hold up the event loop before lines are dropped."""

METRICS_MAX_MODELS: Final = 50
"""Models that are named in metrics; later ones count as `other`. Each takes some 100 lines of text, 5 KB."""

LOOP_LAG_INTERVAL_S: Final = 1.0
"""Between two measurements of how late the event loop is."""

TRACES_PENDING_MAX: Final = 2_048
"""Spans that wait to be sent, some 2 KB each; more are dropped: a collector that is down must cost nobody anything."""

TRACES_EXPORT_TIMEOUT_S: Final = 5.0
"""For one batch of spans, and so for the stop of a node whose collector is gone."""

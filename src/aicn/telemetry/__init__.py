"""What the program tells of itself: its log, each use of a model, and what it counts."""

from aicn.telemetry.exposition import render
from aicn.telemetry.log import setup, write_to_file
from aicn.telemetry.looplag import watch_loop_lag
from aicn.telemetry.metrics import DECLARED, Metric, Metrics, ModelLabels
from aicn.telemetry.observer import NoObserver, Observer, Occasion, Outcome, Side, Spend, Spent, Use, outcome_of
from aicn.telemetry.usage import TokenReader

__all__ = [
    "DECLARED",
    "Metric",
    "Metrics",
    "ModelLabels",
    "NoObserver",
    "Observer",
    "Occasion",
    "Outcome",
    "Side",
    "Spend",
    "Spent",
    "TokenReader",
    "Use",
    "outcome_of",
    "render",
    "setup",
    "watch_loop_lag",
    "write_to_file",
]

"""What the program tells of itself: its log, and each use of a model."""

from aicn.telemetry.log import setup, write_to_file
from aicn.telemetry.observer import NoObserver, Observer, Outcome, Side, Use, outcome_of

__all__ = ["NoObserver", "Observer", "Outcome", "Side", "Use", "outcome_of", "setup", "write_to_file"]

"""Which peer answers a request, and what happens when it does not."""

from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.attempts import RouteSettings
from aicn.routing.body import StreamedBody
from aicn.routing.candidates import Candidate, CandidateSource
from aicn.routing.legacy import LegacyStreams
from aicn.routing.reservations import Reservations
from aicn.routing.retry_budget import RetryBudget
from aicn.routing.router import Router
from aicn.routing.selector import Chosen, Sample, SampleOutcome, Selector, Wanted
from aicn.routing.spoken import SpokenProtocols
from aicn.routing.told_failure import tells_failure

__all__ = [
    "Answer",
    "Ask",
    "Candidate",
    "CandidateSource",
    "Chosen",
    "LegacyStreams",
    "Reservations",
    "RetryBudget",
    "RouteSettings",
    "Router",
    "Sample",
    "SampleOutcome",
    "Selector",
    "SpokenProtocols",
    "StreamedBody",
    "Wanted",
    "tells_failure",
]

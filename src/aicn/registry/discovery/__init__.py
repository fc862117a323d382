"""Finds the model servers of this machine, and keeps their models registered."""

from aicn.registry.discovery.fingerprints import FoundModel, FoundServer
from aicn.registry.discovery.follower import Follower, registration
from aicn.registry.discovery.scanner import Fetch, Scanner
from aicn.registry.discovery.selection import Selection

__all__ = ["Fetch", "Follower", "FoundModel", "FoundServer", "Scanner", "Selection", "registration"]

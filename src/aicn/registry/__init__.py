"""What this node serves: models, registered durably, found by name, counted while they work."""

from aicn.ids import ModelKind
from aicn.registry.address import check_model_url, is_own_address
from aicn.registry.controls import Control, capped, paused, renamed
from aicn.registry.health import HealthMonitor
from aicn.registry.inflight import InFlight, Reservation
from aicn.registry.models import Model, ModelState
from aicn.registry.registrar import ModelRegistry

__all__ = [
    "Control",
    "HealthMonitor",
    "InFlight",
    "Model",
    "ModelKind",
    "ModelRegistry",
    "ModelState",
    "Reservation",
    "capped",
    "check_model_url",
    "is_own_address",
    "paused",
    "renamed",
]

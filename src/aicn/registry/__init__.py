"""What this node serves: models, registered durably, found by name, counted while they work."""

from aicn.ids import ModelKind
from aicn.registry.address import check_model_url, is_own_address
from aicn.registry.inflight import InFlight, Reservation
from aicn.registry.models import Model
from aicn.registry.registrar import ModelRegistry

__all__ = [
    "InFlight",
    "Model",
    "ModelKind",
    "ModelRegistry",
    "Reservation",
    "check_model_url",
    "is_own_address",
]

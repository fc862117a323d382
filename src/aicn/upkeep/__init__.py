"""What keeps a node in shape: what machine it runs on, and how it comes to a newer release."""

from aicn.upkeep.hardware import read_hardware

__all__ = ["read_hardware"]

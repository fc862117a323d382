"""What the program tells of itself: its log."""

from aicn.telemetry.log import setup, write_to_file

__all__ = ["setup", "write_to_file"]

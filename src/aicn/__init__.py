"""aicn: a network that lends model servers, with no central coordinator."""

__version__ = "0.1.0"

__all__ = ["__version__"]

"""A node: every part built, connected, started and stopped."""

from aicn.node.node import MakeHost, Node, native_host
from aicn.node.settings import AGENT_VERSION, configured_models, host_config

__all__ = ["AGENT_VERSION", "MakeHost", "Node", "configured_models", "host_config", "native_host"]

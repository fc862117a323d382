"""Answering other nodes: requests that arrive on streams or over gossip go to the model servers beside this node."""

from aicn.serving.facts import NodeFacts, ReadHardware
from aicn.serving.gossip import GossipServer, QuestionOutcome
from aicn.serving.gossip_models import GossipModels
from aicn.serving.mail import GossipMail
from aicn.serving.question_gate import QuestionGate
from aicn.serving.stream import ChatProxyServer

__all__ = [
    "ChatProxyServer",
    "GossipMail",
    "GossipModels",
    "GossipServer",
    "NodeFacts",
    "QuestionGate",
    "QuestionOutcome",
    "ReadHardware",
]

"""Every default and limit, with its unit in its name and its reason beside it.

One file for each subject. A number that a user may change is the default of a configuration field; all others are
limits that keep a queue, a table, a body or a wait bounded.
"""

from __future__ import annotations

# ruff: noqa: F403 - all of each: they are lists of constants, and no name stands in two of them.
from aicn.defaults.api import *
from aicn.defaults.attempts import *
from aicn.defaults.backends import *
from aicn.defaults.choosing import *
from aicn.defaults.exchange import *
from aicn.defaults.files import *
from aicn.defaults.gossip import *
from aicn.defaults.keys import *
from aicn.defaults.models import *
from aicn.defaults.network import *
from aicn.defaults.peers import *
from aicn.defaults.protocols import *
from aicn.defaults.telemetry import *
from aicn.defaults.tools import *
from aicn.defaults.upkeep import *

"""Self-upgrade: signed releases, taken when the node is idle, kept only if they are healthy.

`updater` gets a release ready, `upgrader` is the node's part, `supervisor` the process that swaps releases,
`publish` makes them. What is shown here loads none of these: most nodes never need them.
"""

from aicn.upkeep.upgrade.settings import (
    RESTART_STATUS,
    UpgradeSettings,
    is_automatic,
    is_supervised,
    upgrade_settings,
)
from aicn.upkeep.upgrade.tether import on_end_of_input

__all__ = [
    "RESTART_STATUS",
    "UpgradeSettings",
    "is_automatic",
    "is_supervised",
    "on_end_of_input",
    "upgrade_settings",
]

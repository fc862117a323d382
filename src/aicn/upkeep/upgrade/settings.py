"""What the configuration says of upgrades, and what follows from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aicn.config import Config
from aicn.errors import UpgradeError

SUPERVISED: Final = "AICN_SUPERVISED"
"""Set to 1 in the environment of a node that was started by a supervisor."""

RESTART_STATUS: Final = 75
"""Exit status by which a node asks its supervisor to start the pending release; EX_TEMPFAIL of BSD's sysexits."""


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """How one node comes to newer releases.

    Attributes:
        source: folder or URL.
        public_key: of the publisher, in base64.
        home: where releases are kept.
        interval_s: time between two looks at the source.
        health_timeout_s: how long a new release may take until its API answers.
        probation_s: how long it must keep answering after that.
        api_address: `host:port` of the node's API.
        peer_id: whom the API must name.
        api_tls: whether the API speaks HTTPS.
    """

    source: str
    public_key: str
    home: Path
    interval_s: float
    health_timeout_s: float
    probation_s: float
    api_address: str
    peer_id: str
    api_tls: bool = False

    @property
    def state_path(self) -> Path:
        """The file that remembers."""
        return self.home / "state.json"


def is_automatic(config: Config) -> bool:
    """Tell whether the node looks for releases by itself: switched on, with a source and a key."""
    own = config.aicn.upgrade
    return config.app.auto_upgrade.enabled and bool(own.source and own.public_key)


def is_supervised() -> bool:
    """Tell whether this process was started by a supervisor."""
    return os.environ.get(SUPERVISED) == "1"


def upgrade_settings(config: Config) -> UpgradeSettings:
    """Return the settings of a configuration.

    Raises:
        UpgradeError: it names no source or no key.
    """
    own = config.aicn.upgrade
    if not own.source or not own.public_key:
        raise UpgradeError("no releases are looked for: set AICN.Upgrade.Source and AICN.Upgrade.PublicKey")
    return UpgradeSettings(
        source=own.source,
        public_key=own.public_key,
        home=Path(config.app.datastore).resolve() / "upgrade",
        interval_s=config.app.auto_upgrade.time_interval_s,
        health_timeout_s=own.health_timeout_s,
        probation_s=own.probation_s,
        api_address=config.api.addr,
        peer_id=config.identity.peer_id,
        api_tls=bool(config.aicn.api.tls_certificate),
    )

"""What machine this is, newer releases, and the end of a node's tasks."""

from __future__ import annotations

from typing import Final

HARDWARE_TIMEOUT_S: Final = 5.0
"""Longest wait for the facts of a machine: they take 100 ms; a graphics driver that wakes its cards, seconds."""

HARDWARE_MAX_AGE_S: Final = 600.0
"""Facts are read again after 10 min: a driver that was installed meanwhile brings its cards with it."""

UPGRADE_MANIFEST_MAX_BYTES: Final = 262_144
"""256 KiB: one artefact for each kind of machine takes 250 bytes."""

UPGRADE_ARTEFACT_MAX_BYTES: Final = 536_870_912
"""512 MiB: aicn with all its packages takes 40 MiB."""

UPGRADE_UNPACKED_MAX_BYTES: Final = 2_147_483_648
"""2 GiB on the disk, for each of the two releases that are kept."""

UPGRADE_MAX_FILES: Final = 100_000
"""Files in a release; aicn with all its packages has some 3,000."""

UPGRADE_SILENCE_TIMEOUT_S: Final = 30.0
"""Longest silence of the server that releases come from."""

UPGRADE_DOWNLOAD_TIMEOUT_S: Final = 3_600.0
"""For one file: 40 MiB in an hour is a modem's speed."""

UPGRADE_APPLY_TIMEOUT_S: Final = 7_200.0
"""For manifest, artefact, unpacking and the first start together."""

UPGRADE_FIRST_START_TIMEOUT_S: Final = 60.0
"""For `aicn version` of a new release: a fifth of a second, and more while Python compiles it on a slow disk."""

UPGRADE_FIRST_LOOK_S: Final = 30.0
"""From the start of a node to its first look for a release: the start itself comes first."""

UPGRADE_QUIET_S: Final = 1.0
"""A node is idle when no request has been under way for 1 s: a conversation's next request often comes at once."""

UPGRADE_WAIT_TOLD_S: Final = 86_400.0
"""A release that waits for a node which is never idle is told of in the log once a day."""

UPGRADE_STOP_TIMEOUT_S: Final = 20.0
"""From the request to stop a release on trial to its hard end; a node grants its requests 5 s, twice."""

UPGRADE_MAX_ATTEMPTS: Final = 2
"""Trials that came to no end, by a power cut say: the second might be the release's own doing."""

TASK_STOP_TIMEOUT_S: Final = 5.0
"""A background task gets this long to finish what it has begun when the node stops."""

"""How many connections may be open, so that files and connections to other nodes still find room."""

from __future__ import annotations

import contextlib
import sys

from aicn import defaults

_SHARE = 4
"""One of so many open files may be a connection of a client: a request opens others, to nodes and model servers."""

if sys.platform == "win32":

    def connections_allowed() -> int:
        """Return how many connections a listener may have. Windows has no limit of open files to speak of."""
        return defaults.API_MAX_CONNECTIONS

else:
    import resource

    def connections_allowed() -> int:
        """Return how many connections a listener may have; the process gets the open files that they need.

        Most systems give a program 1,024 at first and leave it to the program to ask for more.
        """
        allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed == resource.RLIM_INFINITY:
            return defaults.API_MAX_CONNECTIONS
        wanted = defaults.OPEN_FILES_MAX if most == resource.RLIM_INFINITY else min(most, defaults.OPEN_FILES_MAX)
        if allowed < wanted:
            # macOS says that there is no limit and refuses what is beyond its own.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
                allowed = wanted
        return max(_SHARE, min(defaults.API_MAX_CONNECTIONS, allowed // _SHARE))

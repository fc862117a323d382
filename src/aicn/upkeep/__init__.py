"""What keeps a node in shape: `hardware` tells what machine it runs on, `upgrade` brings newer releases.

Nothing is loaded here: the supervisor of upgrades does without all that reading a machine takes.
"""

__all__: list[str] = []

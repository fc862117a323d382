"""Programs that stand beside a node; each module runs by itself with `python -m`."""

__all__: list[str] = []

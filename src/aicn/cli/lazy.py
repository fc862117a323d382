"""A group of commands whose modules are loaded when they are used, so that `aicn --help` is there at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, imported when they are looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """Take `module:attribute` for each name."""
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        """Return the command, imported if need be."""
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            command = getattr(import_module(module), attribute)
            if not isinstance(command, click.Command):
                raise TypeError(f"{self._places[name]} is no command")
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        """Add a command that is there already."""
        self._places[name] = ""
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        """Remove a command."""
        del self._places[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; nothing is imported."""
        return iter(self._places)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._places)


class LazyGroup(click.Group):
    """A click group over `LazyCommands`; its help needs none of them."""

    def __init__(self, *, places: Mapping[str, tuple[str, str]], **settings: object) -> None:
        """Take `(module:attribute, one line of help)` for each name; the rest goes to `click.Group`."""
        commands = LazyCommands({name: place for name, (place, _) in places.items()})
        super().__init__(commands=commands, **settings)  # type: ignore[arg-type]
        self._lines = {name: line for name, (_, line) in places.items()}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._lines[name]) for name in self.list_commands(ctx)])

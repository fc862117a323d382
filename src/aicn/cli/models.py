"""`aicn models`: what a node serves, and what its machine could serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click

from aicn.backends import DocumentReader
from aicn.cli.model_keeper import ModelKeeper, keeper_of, split_name
from aicn.config import ConfigFile
from aicn.errors import RegistryError, UsageError
from aicn.ids import InstanceId, ModelKind, ModelName, ProjectName
from aicn.registry import Model
from aicn.registry.discovery import FoundServer, Scanner, Selection, registration

_TYPES: Final = {kind.name.lower().replace("_", "-"): kind for kind in ModelKind}

_WANTS_KEY: Final = "wants a key, which nodes do not have: start it without one, for this machine alone"

_path = click.argument("path", type=click.Path(path_type=Path))
_name = click.argument("name", metavar="PROJECT/MODEL")
_cid = click.option("--cid", default="", help="Which of several instances; all by default.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


@click.group()
def models() -> None:
    """See, find and change the models that a node serves.

    PATH is the node's configuration file. A node that runs is changed at once, one that does not in its file.
    """


@models.command(name="list")
@_path
@_json
def list_(*, path: Path, as_json: bool) -> None:
    """Show the models that the node has, and whether each can be asked."""
    found = keeper_of(path).models()
    if as_json:
        _lines(found)
        return
    _table(
        ("MODEL", "TYPE", "STATE", "AT WORK", "URL"),
        (
            (
                _full_name(one),
                _type(one["type"]),
                str(one["state"]) + (f" ({one['reason']})" if one.get("reason") else ""),
                f"{one['in_flight']}" + (f" of {one['max_concurrent']}" if one["max_concurrent"] else ""),
                str(one["api"]) + (f" as {one['server_model']}" if one["server_model"] else ""),
            )
            for one in found
        ),
    )


@models.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--port", "ports", multiple=True, type=click.IntRange(1, 65_535), help="Look there too; may come again.")
@click.option("--register", "wanted", is_flag=True, help="Register what was found with the node of PATH.")
@click.option("--project", default="", help="Project to register it under; AICN.Discovery.Project by default.")
@_json
def discover(*, path: Path | None, ports: tuple[int, ...], wanted: bool, project: str, as_json: bool) -> None:
    """Look for model servers on this machine.

    Known are Ollama, vLLM, SGLang, llama.cpp, LM Studio, LocalAI, Automatic1111 and ComfyUI, by what they answer.
    With PATH, the settings of AICN.Discovery apply: which models, and under which names.
    """
    config = None if path is None else ConfigFile.load(path).config
    settings = None if config is None else config.aicn.discovery
    own_ports = [] if config is None else [int(config.api.addr.rpartition(":")[2])]
    more_ports = (*ports, *(() if settings is None else settings.ports))
    selection = Selection() if settings is None else Selection(settings.include, settings.exclude, settings.names)
    project = project or ("" if settings is None else settings.project)
    if wanted and path is None:
        raise UsageError("name the node's configuration file to register what was found")
    if wanted and not project:
        raise UsageError("name the project to register the models under: --project NAME")
    servers = asyncio.run(_scan(more_ports, own_ports))
    if as_json:
        _lines(_described(server, selection) for server in servers)
    else:
        _show(servers, selection)
    if wanted and path is not None:
        _register(keeper_of(path), servers, ProjectName(project), selection)


@models.command()
@_path
@_name
@click.argument("url")
@click.option("--type", "kind", type=click.Choice(list(_TYPES)), default="chat", show_default=True)
@click.option("--cid", default="", help="Tells several instances of one model apart.")
@click.option("--server-model", default="", help="What the model server calls it, if it has another name.")
def add(*, path: Path, name: str, url: str, kind: str, cid: str, server_model: str) -> None:
    """Serve a model whose server answers at URL, on this machine; or change one."""
    project, model = split_name(name)
    keeper_of(path).register(Model.of(project, model, url, _TYPES[kind], cid, server_model))
    click.echo(f"{name} is registered.")


@models.command()
@_path
@_name
@click.option("--cid", default="", help="Which of several instances.")
def remove(*, path: Path, name: str, cid: str) -> None:
    """Serve a model no more; requests under way run to their end."""
    project, model = split_name(name)
    if not keeper_of(path).unregister(project, model, cid):
        instance = f" with cid {cid}" if cid else ""
        raise RegistryError(f"the node has no model {name}{instance}; `aicn models list` shows all")
    click.echo(f"{name} is removed.")
    discovery = ConfigFile.load(path).config.aicn.discovery
    if discovery.enabled and project == discovery.project:
        click.echo("Discovery will find it again: pause it, or name it in AICN.Discovery.Exclude.", err=True)


@models.command()
@_path
@_name
@click.argument("new")
def rename(*, path: Path, name: str, new: str) -> None:
    """Serve a model under the name NEW; its server goes on to be asked by the name that it knows."""
    project, model = split_name(name)
    if new.startswith(f"{project}/"):
        raise UsageError(f"NEW is the name without its project; write {new.removeprefix(f'{project}/')!r}")
    if not new:
        raise UsageError("NEW is empty; write the name that the model shall have")
    keeper_of(path).rename(project, model, new)
    click.echo(f"{name} is {project}/{new} now.")


@models.command()
@_path
@_name
@_cid
def pause(*, path: Path, name: str, cid: str) -> None:
    """Take no more requests for a model; those under way run to their end."""
    project, model = split_name(name)
    keeper_of(path).pause(project, model, cid)
    click.echo(f"{name} is paused.")


@models.command()
@_path
@_name
@_cid
def resume(*, path: Path, name: str, cid: str) -> None:
    """Take requests for a model again."""
    project, model = split_name(name)
    keeper_of(path).resume(project, model, cid)
    click.echo(f"{name} takes requests.")


@models.command()
@_path
@_name
@_cid
def drain(*, path: Path, name: str, cid: str) -> None:
    """Pause a model and wait until nothing is under way, for five minutes at most."""
    project, model = split_name(name)
    left = keeper_of(path).drain(project, model, cid)
    if left:
        raise RegistryError(f"{name} is paused, and {left} requests are still under way; wait, or stop its server")
    click.echo(f"{name} is paused, and nothing is under way.")


@models.command()
@_path
@_name
@click.argument("number", type=click.IntRange(min=0))
@_cid
def cap(*, path: Path, name: str, number: int, cid: str) -> None:
    """Let a model work on NUMBER requests at once, no more; 0: on any number."""
    project, model = split_name(name)
    keeper_of(path).cap(project, model, cid, number)
    click.echo(f"{name} works on {number or 'any number of'} requests at once.")


async def _scan(more_ports: Iterable[int], without: Iterable[int]) -> tuple[FoundServer, ...]:
    reader = DocumentReader()
    try:
        return await Scanner(reader.read, more_ports=more_ports, without=without).scan()
    finally:
        await reader.close()


def _register(keeper: ModelKeeper, servers: Iterable[FoundServer], project: ProjectName, selection: Selection) -> None:
    registered = [_model(one) for one in keeper.models()]
    for server in servers:
        for found in server.models:
            model = registration(server, found, project, registered, selection)
            if model is None:
                continue
            keeper.register(model)
            registered.append(model)
            click.echo(f"{project}/{model.model} is registered.", err=True)


def _model(one: dict[str, Any]) -> Model:
    return Model(
        ProjectName(one["project"]),
        ModelName(one["model"]),
        one["api"],
        ModelKind(one["type"]),
        InstanceId(one["cid"]),
        one["server_model"],
    )


def _described(server: FoundServer, selection: Selection) -> dict[str, Any]:
    return {
        "software": server.software,
        "url": server.url,
        "wants_key": server.wants_key,
        "models": [
            {
                "model": found.name,
                "name": selection.name_of(found.name),
                "type": int(found.kind),
                "api": found.api,
                "wanted": selection.wants(found.name),
            }
            for found in server.models
        ],
    }


def _show(servers: tuple[FoundServer, ...], selection: Selection) -> None:
    if not servers:
        click.echo("no model server answers on the ports that are known; name others with --port", err=True)
        return
    rows = [
        (
            server.software,
            found.name,
            _type(found.kind),
            found.api,
            "" if selection.wants(found.name) else "left out by AICN.Discovery",
        )
        for server in servers
        for found in server.models
    ]
    rows += [
        (server.software, "-", "-", server.url, _WANTS_KEY if server.wants_key else "has no models")
        for server in servers
        if not server.models
    ]
    _table(("SERVER", "MODEL", "TYPE", "URL", ""), rows)


def _full_name(one: dict[str, Any]) -> str:
    instance = f"#{one['cid']}" if one["cid"] else ""
    return f"{one['project']}/{one['model']}{instance}"


def _type(kind: int) -> str:
    return ModelKind(kind).name.lower().replace("_", "-")


def _lines(values: Iterable[Any]) -> None:
    for value in values:
        click.echo(json.dumps(value, ensure_ascii=False))


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

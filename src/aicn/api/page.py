"""The page at `/docs`: the OpenAPI document as one HTML page that loads nothing and reads well without a script."""

from __future__ import annotations

import html
import json
import re
import shlex
from importlib import resources
from typing import Any, Final

from aicn.api.openapi import PUBLIC_MARK

HERE: Final = "http://127.0.0.1:7002"
"""Stands in every curl line; the script puts the address in its place that the page was loaded from."""

_FILES: Final = {"file": "speech.wav"}
"""Names of files in examples; those not listed are pictures."""

_REF: Final = "#/components/schemas/"
_MAX_DEPTH: Final = 6

Json = dict[str, Any]


def render(document: Json) -> str:
    """Return the page for an OpenAPI document as `aicn.api.openapi` makes it."""
    groups: dict[str, list[tuple[str, str, Json]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append((method.upper(), path, operation))
    schemas = document["components"]["schemas"]
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    menu = "".join(_menu(name, entries) for name, entries in groups.items() if entries)
    main = "".join(_group(name, about[name], entries, schemas) for name, entries in groups.items() if entries)
    info = document["info"]
    return _asset("page.html").format(
        title=_text(info["title"]),
        version=_text(info["version"]),
        about=_markdown(info["description"]),
        style=_asset("page.css"),
        script=_asset("page.js"),
        menu=menu,
        main=main,
    )


def curl(path: str, operation: Json, schemas: Json) -> str:
    """Return a command line that makes this request, ready for a shell."""
    query = "&".join(
        f"{one['name']}={_example_value(one['name'], one['schema'])}"
        for one in operation.get("parameters", [])
        if one["required"] and one["in"] == "query"
    )
    path = re.sub(r"{(\w+)}", lambda found: _example_value(found[1], {}), path)
    url = f"{HERE}{path}" + (f"?{query}" if query else "")
    start = " ".join(["curl", *(["-N"] if _streams(operation) else []), shlex.quote(url)])
    body = operation.get("requestBody")
    if body is None:
        return start
    ((kind, content),) = body["content"].items()
    if kind == "application/json":
        example = json.dumps(content["example"], ensure_ascii=False, indent=2)
        return f"{start} \\\n  -H 'Content-Type: application/json' -d {shlex.quote(example)}"
    form = _resolved(content["schema"], schemas)
    parts = [
        f"  -F {name}=@{_FILES.get(name, name + '.png')}"
        if one.get("format") == "binary"
        else f"  -F {shlex.quote(f'{name}={_first(one)}')}"
        for name, one in form["properties"].items()
        if name in form["required"]
    ]
    return " \\\n".join([start, *parts])


def _streams(operation: Json) -> bool:
    return "text/event-stream" in operation["responses"]["200"].get("content", {})


def _example_value(name: str, schema: Json) -> str:
    known = {"project": "demo", "model": "llama", "node_id": "16Uiu2HA…"}
    return known.get(name, "1" if schema.get("type") == "integer" else "")


def _first(schema: Json) -> str:
    return str((schema.get("examples") or [""])[0])


def _resolved(schema: Json, schemas: Json) -> Json:
    if "$ref" in schema:
        found: Json = schemas[schema["$ref"].removeprefix(_REF)]
        return found
    return schema


# --- HTML -------------------------------------------------------------------------------------------------


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _text(value: object) -> str:
    return html.escape(str(value))


def _markdown(text: str) -> str:
    """Return the little Markdown that our descriptions use as HTML: paragraphs, `code` and *emphasis*."""
    made = re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))
    made = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", made)
    return "".join(f"<p>{each}</p>" for each in made.split("\n\n"))


def _inline(text: str) -> str:
    return _markdown(text).removeprefix("<p>").removesuffix("</p>")


def _menu(name: str, entries: list[tuple[str, str, Json]]) -> str:
    links = "".join(
        f'<li><a href="#{_text(operation["operationId"])}"><span class="{method.lower()}">{method}</span>'
        f"{_text(path.removeprefix('/api/v0'))}</a></li>"
        for method, path, operation in entries
    )
    return f"<h2>{_text(name)}</h2><ul>{links}</ul>"


def _group(name: str, about: str, entries: list[tuple[str, str, Json]], schemas: Json) -> str:
    made = "".join(_operation(method, path, operation, schemas) for method, path, operation in entries)
    return f'<section><h2>{_text(name)}</h2><p class="about">{_text(about)}</p>{made}</section>'


def _operation(method: str, path: str, operation: Json, schemas: Json) -> str:
    who = "public" if operation[PUBLIC_MARK] else "operator"
    shown = (
        f'<article id="{_text(operation["operationId"])}"><header><span class="method {method.lower()}">{method}</span>'
        f'<code class="path">{_text(path)}</code><span class="who {who}">{who}</span></header>'
        f"<h3>{_text(operation['summary'])}</h3>{_markdown(operation['description'])}"
        f'<div class="try"><pre><code>{_text(curl(path, operation, schemas))}</code></pre>'
        '<button type="button" class="copy" hidden>Copy</button></div>'
    )
    parts = [shown]
    if operation.get("parameters"):
        rows = "".join(_row(one["name"], one["schema"] | one, one["required"]) for one in operation["parameters"])
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    body = operation.get("requestBody")
    if body is not None:
        ((kind, content),) = body["content"].items()
        fields = _fields(content["schema"], schemas, 0)
        parts.append(f"<details><summary>Request body <small>{_text(kind)}</small></summary>{fields}</details>")
    parts.append(f"<details><summary>Answers</summary>{_answers(operation['responses'], schemas)}</details></article>")
    return "".join(parts)


def _answers(responses: Json, schemas: Json) -> str:
    made = []
    for status, response in responses.items():
        kinds = response.get("content", {})
        lines = response["description"].splitlines()
        if lines[0].startswith("- "):
            text = "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>"
        else:
            text = _markdown(response["description"])
        if status == "200":
            text += "".join(
                f"<p><small>{_text(kind)}</small></p>{_fields(one['schema'], schemas, 0)}"
                for kind, one in kinds.items()
            )
        name = status.replace("default", "other")
        made.append(f'<div class="answer"><b class="s{status[0]}">{_text(name)}</b><div>{text}</div></div>')
    return "".join(made)


def _fields(schema: Json, schemas: Json, depth: int) -> str:
    """Return a table of the fields of an object, or of the objects in a list."""
    found = _resolved(schema, schemas)
    if found.get("type") == "array":
        return "<p>A list of:</p>" + _fields(found["items"], schemas, depth)
    properties = found.get("properties")
    if properties is None:
        return f"<p>{_text(_kind(found, schemas))}</p>"
    about = f"<p>{_inline(found['description'])}</p>" if "description" in found else ""
    rows = []
    for name, one in properties.items():
        rows.append(_row(name, one | {"kind": _kind(one, schemas)}, name in found.get("required", ())))
        inner = _inner(one, schemas)
        if inner is not None and depth < _MAX_DEPTH:
            rows.append(f'<tr><td></td><td colspan="2">{_fields(inner, schemas, depth + 1)}</td></tr>')
    return f"{about}<table>{''.join(rows)}</table>"


def _inner(schema: Json, schemas: Json) -> Json | None:
    """Return the object that stands in a field, itself, in a list, in a map or beside null."""
    for each in (schema, schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        if isinstance(each, dict):
            if "properties" in _resolved(each, schemas):
                return each
            if each is not schema and (found := _inner(each, schemas)) is not None:
                return found
    return None


def _kind(schema: Json, schemas: Json) -> str:
    found = _resolved(schema, schemas)
    if "anyOf" in found:
        return " or ".join(_kind(one, schemas) for one in found["anyOf"])
    if "enum" in found:
        return ", ".join(json.dumps(one) for one in found["enum"])
    if found.get("type") == "array":
        return f"list of {_kind(found.get('items', {}), schemas)}"
    return {"integer": "number"}.get(str(found.get("type")), str(found.get("type", "any")))


def _row(name: str, one: Json, required: bool) -> str:  # noqa: FBT001 - a cell of the table
    kind = one.get("kind") or one.get("type", "any")
    need = "<b>required</b>" if required else ""
    return (
        f"<tr><td><code>{_text(name)}</code></td><td>{_text(kind)} {need}</td>"
        f"<td>{_inline(one.get('description', ''))}</td></tr>"
    )

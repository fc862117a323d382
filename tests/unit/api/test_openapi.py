"""The table of operations, the document made of it, and the page made of that."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from aicn import defaults
from aicn.api import Handlers, nodes, openapi, page, projects, routes, schemas, swarm
from aicn.api.app import OPEN_PATHS, PUBLIC_PATHS
from aicn.api.operation import for_all
from aicn.api.operations import GROUPS, OPERATIONS

NOTHING: Any = type("Nothing", (), {"__getattr__": lambda _, __: None})()


def route_table() -> set[tuple[str, str]]:
    handlers = Handlers(**dict.fromkeys(Handlers.__dataclass_fields__, NOTHING))
    return {
        (method, route.path.replace(":path}", "}"))
        for route in routes(handlers, NOTHING, collects=True)
        for method in (route.methods or set()) - {"HEAD"}
    }


DOCUMENT = openapi.document(route_table())


def test_every_route_is_described_and_nothing_else_is() -> None:
    assert {(each.method, each.path) for each in OPERATIONS} == route_table()
    assert {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    } == route_table()


def test_a_route_that_is_not_there_is_left_out() -> None:
    only = openapi.document({("GET", "/api/v0/id")})
    assert list(only["paths"]) == ["/api/v0/id"]
    assert "ChatRequest" not in only["components"]["schemas"]


def test_who_may_use_a_route_is_what_the_gate_lets_in() -> None:
    let_in = PUBLIC_PATHS | OPEN_PATHS
    assert {each.path for each in OPERATIONS if each.public} == {path.replace(":path}", "}") for path in let_in}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_an_operation_is_described_in_full(operation: Any) -> None:
    assert operation.tag in GROUPS
    assert len(operation.summary) > 5
    assert operation.text.endswith(".")
    assert (operation.method == "POST") == (operation.request is not None)
    assert any(failure.status == 403 for failure in for_all(operation))
    if operation.example is not None:
        # The example is a body that the described type takes, without a field that it does not know.
        decoded = msgspec.convert(operation.example, operation.request)
        assert set(operation.example) <= {field.encode_name for field in msgspec.structs.fields(decoded)}


def test_names_of_operations_are_their_own() -> None:
    names = [each.name for each in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named - set(DOCUMENT["components"]["schemas"]) == set()
    assert len(named) > 15


@pytest.mark.parametrize(
    ("described", "decoded"),
    [
        (schemas.RegisterModelRequest, projects._RegisterFields),
        (schemas.RegisterProjectRequest, projects._ProjectFields),
        (schemas.ModelEntry, projects._ModelFields),
        (schemas.NodeAddrRequest, swarm._NodeAddrFields),
        (schemas.NodeRequest, nodes._NodeFields),
    ],
)
def test_what_is_described_is_what_handlers_read(described: Any, decoded: Any) -> None:
    def names(kind: Any) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(kind)}

    assert names(described) == names(decoded)


def test_lists_are_as_long_as_they_say() -> None:
    assert "100 by default" in json.dumps(DOCUMENT)
    assert defaults.LIST_DEFAULT_NUMBER == 100


def test_a_node_that_nobody_asks_loads_no_description() -> None:
    program = "import sys, aicn.node; print(sorted(one for one in sys.modules if one in sys.argv[1:]))"
    heavy = ["aicn.api.openapi", "aicn.api.operations", "aicn.api.page", "aicn.api.schemas"]
    heavy += ["aicn.api.v1.operations", "aicn.api.v1.schemas"]
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program, *heavy], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


# --- the page ---------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects what a browser would load, every id, and whether tags close."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "a":
            self.links.append(found.get("href") or "")
        else:
            self.loads += [found[name] or "" for name in ("src", "href") if name in found]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_route_and_loads_nothing() -> None:
    text = page.render(DOCUMENT)
    read = _Page()
    read.feed(text)
    assert read.open == []
    assert read.loads == ["data:,"]
    assert len(set(read.ids)) == len(read.ids)
    assert {f"#{each.name}" for each in OPERATIONS} <= set(read.links)
    assert {link.removeprefix("#") for link in read.links if link.startswith("#")} <= set(read.ids)
    for each in OPERATIONS:
        assert f'<code class="path">{each.path}</code>' in text


def test_the_page_escapes_what_it_shows() -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["paths"]["/api/v0/id"]["get"]["summary"] = "<script>alert(1)</script>"
    assert "<script>alert" not in page.render(document)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_a_curl_line_is_one_that_a_shell_takes(operation: Any) -> None:
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    line = page.curl(operation.path, described, DOCUMENT["components"]["schemas"])
    words = shlex.split(line.replace("\\\n", " "))
    assert words[0] == "curl"
    assert "{" not in words[1]
    assert any(word.startswith(page.HERE + operation.path.partition("{")[0]) for word in words)
    if operation.example is not None:
        assert json.loads(words[words.index("-d") + 1]) == operation.example

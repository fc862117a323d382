"""Documentation is a test: what exists is described, and what is described exists."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import click
import pytest

from aicn import defaults, errors
from aicn.api.errors import Code
from aicn.api.operation import Operation
from aicn.api.operations import OPERATIONS
from aicn.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def commands(command: click.Command, words: str) -> list[tuple[str, click.Command]]:
    found = [(words, command)]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            if not inner.hidden:
                found += commands(inner, f"{words} {name}")
    return found


COMMANDS = commands(cli, "aicn")


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[words for words, _ in COMMANDS])
def test_a_command_and_its_options_are_described(words: str, command: click.Command) -> None:
    document = text("docs/command-line.md")
    assert f"`{words}" in document
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    missing = [one.opts[-1] for one in options if not any(f"`{spelling}" in document for spelling in one.opts)]
    assert missing == []
    assert command.help, "a command says what it does"


@pytest.mark.parametrize("name", ["docs/http-api.md", "docs/zh/http-api.md"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_route_is_described_with_a_command_line(operation: Operation, name: str) -> None:
    heading = re.escape(f"### `{operation.method} {operation.path}`")
    found = re.search(rf"^{heading}\n(.*?)(?=^##|\Z)", text(name), flags=re.MULTILINE | re.DOTALL)
    assert found is not None, operation.path
    assert found[1].lstrip().startswith(("*Public.*", "*公开。*")) is operation.public
    # Of a path with a name in it only what stands before that: any name will do.
    asked = re.sub(r"\\{\w+\\}", r"[^ ?']+", re.escape(operation.path))
    assert re.search(rf"^curl .*{asked}(\?|'| |$)", found[1], flags=re.MULTILINE)


def test_the_documents_name_no_route_that_is_gone() -> None:
    known = {each.path for each in OPERATIONS}
    named = {
        path
        for document in DOCUMENTS
        for path in re.findall(r"/api/v0/[a-z/]*[a-z]", document.read_text(encoding="utf-8"))
    }
    assert sorted(named - known) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[one.relative_to(ROOT).as_posix() for one in DOCUMENTS])
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    gone = [one for one in targets if "://" not in one and not (document.parent / one).exists()]
    assert gone == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[one.relative_to(ROOT).as_posix() for one in DOCUMENTS])
def test_a_make_target_that_is_named_exists(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert sorted(named - known) == []


def test_every_make_target_explains_itself() -> None:
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)$", text("Makefile"), flags=re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text("Makefile"), flags=re.MULTILINE))
    assert phony - explained == {"build-always", "lint-tools"}


def test_every_default_says_why() -> None:
    silent = []
    names = []
    for file in sorted((ROOT / "src/aicn/defaults").glob("*.py")):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.append(node.target.id)
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if not said or not isinstance(node.annotation, ast.Name) or node.annotation.id != "Final":
                    silent.append(node.target.id)
            elif isinstance(node, ast.Assign):
                silent.append(ast.unparse(node))
    assert silent == []
    # No name of one subject hides that of another, and every subject can be had.
    assert sorted(names) == sorted(name for name in vars(defaults) if name.isupper())


def test_the_error_tree_is_drawn_as_it_is() -> None:
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.AicnError)]
    drawing = (errors.__doc__ or "").partition("::")[2]
    drawn: list[tuple[str, str]] = []
    stack: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        found = re.match(r"([\s│├└─]*)([A-Z]\w+)", line)
        if found is None:
            continue
        depth = len(found[1])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        if stack:
            drawn.append((found[2], stack[-1][1]))
        stack.append((depth, found[2]))
    assert sorted(drawn) == sorted((one.__name__, one.__base__.__name__) for one in classes[1:] if one.__base__)


def test_every_code_of_the_api_is_described() -> None:
    listed = re.findall(r"^\| (\d+) \| (\w+) \|", text("docs/errors.md"), flags=re.MULTILINE)
    assert listed == [(str(int(code)), code.name.lower()) for code in Code]


def test_every_error_has_a_name_of_its_own() -> None:
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.AicnError)]
    slugs = [one.slug for one in classes]
    assert len(set(slugs)) == len(slugs)

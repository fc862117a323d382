from __future__ import annotations

from typing import Any

import pytest

from aicn.api.caller import Caller
from aicn.api.v1.models import ModelRoutes
from aicn.clock import ManualClock

from .test_names import directory


async def nothing(*_: Any) -> Any:
    raise AssertionError("a list is not read from anywhere")


@pytest.mark.parametrize(
    ("served", "default", "listed"),
    [
        pytest.param(["P:m", "Q:n"], "", {"m": "P", "n": "Q"}, id="of one project each"),
        pytest.param(["P:m", "Q:m"], "", {"P/m": "P", "Q/m": "Q"}, id="of two"),
        pytest.param(["P:m", "Q:m"], "Q", {"P/m": "P", "m": "Q"}, id="of two, one of them the default"),
        pytest.param(["P:m", "Q:P/m"], "", {"m": "P", "Q/P/m": "Q"}, id="called like another with its project"),
        pytest.param(["P:org/m"], "", {"org/m": "P"}, id="with a slash"),
    ],
)
async def test_each_is_listed_by_a_name_that_leads_to_it(
    served: list[str], default: str, listed: dict[str, str]
) -> None:
    routes = ModelRoutes(directory(ManualClock(), *served), default)
    scope = {"type": "http", "headers": [], "path": "/v1/models"}
    data = (await routes.list(Caller(scope, nothing, nothing)))["data"]
    assert {each["id"]: each["owned_by"] for each in data} == listed
    for name, project in listed.items():
        assert routes.names.find(name)[0] == project

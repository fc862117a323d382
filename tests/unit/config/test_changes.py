from __future__ import annotations

import copy

import pytest

from aicn.config import Raw, set_bootstrap, set_models
from aicn.config.document import decode
from aicn.ids import ModelKind
from aicn.registry import Model


def test_models_are_grouped_by_project_in_their_order(raw: Raw) -> None:
    models = [
        Model.of("P", "a", "http://127.0.0.1/1", 0, "c1"),
        Model.of("Q", "b", "http://127.0.0.1/2", 1, ""),
        Model.of("P", "a", "http://127.0.0.1/3", 2, "c2"),
    ]
    set_models(raw, models)
    assert raw["AIProjects"] == [
        {
            "Project": "P",
            "Models": [
                {"Model": "a", "API": "http://127.0.0.1/1", "Type": 0, "CID": "c1"},
                {"Model": "a", "API": "http://127.0.0.1/3", "Type": 2, "CID": "c2"},
            ],
        },
        {"Project": "Q", "Models": [{"Model": "b", "API": "http://127.0.0.1/2", "Type": 1, "CID": ""}]},
    ]
    assert type(raw["AIProjects"][0]["Models"][0]["Type"]) is int
    assert decode(raw).ai_projects[0].models[1].type == ModelKind.IMAGE_EDIT


@pytest.mark.parametrize("empty", [None, []])
def test_no_models_are_an_empty_array(raw: Raw, empty: object) -> None:
    raw["AIProjects"] = empty
    set_models(raw, [])
    assert raw["AIProjects"] == []


def test_what_we_do_not_know_of_a_model_stays_with_it(raw: Raw) -> None:
    raw["AIProjects"] = [
        {
            "Project": "P",
            "Note": "mine",
            "Models": [
                {"Model": "a", "API": "http://old", "Type": 0, "CID": "1", "Price": 3},
                {"Model": "a", "API": "http://old", "CID": "2", "Price": 4},
                {"Model": "gone", "API": "http://old", "CID": "", "Price": 5},
            ],
        },
        {"Project": "Gone", "Models": None},
    ]
    set_models(raw, [Model.of("P", "a", "http://new", 1, "2"), Model.of("P", "a", "http://old", 0, "1")])
    assert raw["AIProjects"] == [
        {
            "Project": "P",
            "Note": "mine",
            "Models": [
                {"Model": "a", "API": "http://new", "CID": "2", "Price": 4, "Type": 1},
                {"Model": "a", "API": "http://old", "Type": 0, "CID": "1", "Price": 3},
            ],
        }
    ]


def test_what_we_do_not_know_of_a_model_goes_with_its_new_name(raw: Raw) -> None:
    api = "http://127.0.0.1/1"
    raw["AIProjects"] = [
        {"Project": "P", "Models": [{"Model": "a", "API": api, "CID": "", "Price": 3}, {"Model": "b", "API": api}]}
    ]
    set_models(raw, [Model.of("P", "x", api, 0, "", "a"), Model.of("P", "b", api, 0, "")])
    set_models(
        raw, [Model.of("P", "y", api, 0, "", "a"), Model.of("P", "b", api, 0, ""), Model.of("P", "new", api, 0, "")]
    )
    renamed, stayed, new = raw["AIProjects"][0]["Models"]
    assert (renamed["Model"], renamed["ServerModel"], renamed["Price"]) == ("y", "a", 3)
    assert "Price" not in stayed
    assert "Price" not in new


def test_nothing_else_is_touched(raw: Raw) -> None:
    before = copy.deepcopy(raw)
    set_models(raw, [Model.of("P", "m", "http://127.0.0.1", 0, "")])
    set_bootstrap(raw, iter(["/ip4/1.2.3.4/tcp/1"]))
    assert raw.pop("Bootstrap") == ["/ip4/1.2.3.4/tcp/1"]
    assert raw.pop("AIProjects")
    del before["Bootstrap"], before["AIProjects"]
    assert raw == before

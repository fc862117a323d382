from __future__ import annotations

import pytest

from aicn import defaults
from aicn.api.errors import ApiError
from aicn.api.v1.names import Names
from aicn.clock import ManualClock
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer


def directory(clock: ManualClock, *served: str) -> Directory:
    """Return a directory in which each of `project:model` is served by a peer of its own."""
    made = Directory(clock)
    for number, each in enumerate(served):
        project, _, model = each.partition(":")
        offer = Offer(ProjectName(project), ModelName(model), InstanceId(""), ModelKind.CHAT, 0)
        made.apply(Heartbeat(PeerId(f"peer{number}"), NodeFlags.HAS_MODELS, (offer,)))
    return made


@pytest.mark.parametrize(
    ("served", "default", "project", "name", "found"),
    [
        pytest.param(["P:m"], "", "", "m", "P:m", id="of the only project"),
        pytest.param(["P:m", "Q:n"], "", "", "P/m", "P:m", id="with its project"),
        pytest.param(["P:org/m"], "", "", "org/m", "P:org/m", id="a name with a slash"),
        pytest.param(["P:org/m"], "", "", "P/org/m", "P:org/m", id="a name with a slash, with its project"),
        pytest.param(["P:m", "Q:m"], "", "", "Q/m", "Q:m", id="of several, by its project"),
        pytest.param(["P:m", "Q:m"], "Q", "", "m", "Q:m", id="of the default project"),
        pytest.param(["P:m"], "Q", "", "m", "P:m", id="not of the default project"),
        pytest.param(["P:m", "Q:m"], "Q", "P", "m", "P:m", id="of the project that the caller names"),
        pytest.param(["P:m", "Q:P/m"], "", "", "Q/P/m", "Q:P/m", id="a name like another's with its project"),
        pytest.param(["P:m", "Q:P/m"], "", "P", "m", "P:m", id="a name like another's, its project named apart"),
        pytest.param(["P:m", "Q:P/m"], "P", "", "m", "P:m", id="a name like another's, of the default project"),
        pytest.param(["P:m", "P:m"], "", "", "m", "P:m", id="served twice"),
        pytest.param(["P:m"], "", "proj_abc123", "m", "P:m", id="of no project of OpenAI's"),
        pytest.param(["P:m", "proj_a:m"], "", "proj_a", "m", "proj_a:m", id="of one that is called like OpenAI's"),
    ],
)
def test_a_model_is_found(served: list[str], default: str, project: str, name: str, found: str) -> None:
    names = Names(directory(ManualClock(), *served), default)
    assert ":".join(names.find(name, project)) == found


@pytest.mark.parametrize(
    ("served", "project", "name", "status", "slug", "words"),
    [
        pytest.param(["P:m"], "", "x", 404, "model_not_found", "GET /v1/models lists", id="unknown"),
        pytest.param(["P:m"], "", "Q/m", 404, "model_not_found", "'Q/m'", id="of another project"),
        pytest.param(["P:m"], "Q", "m", 404, "model_not_found", "'Q/m'", id="not of the project that is named"),
        pytest.param(["P:m", "Q:m"], "", "m", 400, "model_ambiguous", "P/m, Q/m", id="of several"),
        pytest.param(
            ["P:m", "Q:P/m"],
            "",
            "P/m",
            400,
            "model_ambiguous",
            "Q/P/m, 'm' with the header OpenAI-Project: P",
            id="both",
        ),
        pytest.param(["P:m"], "", "", 400, "", "write the name", id="empty"),
        pytest.param(["P:m"], "", "a\nb", 400, "", "write the name", id="no name"),
        pytest.param(["P:m"], "", "x" * 10_000, 400, "", "write the name", id="endless"),
    ],
)
def test_a_model_is_not_found(served: list[str], project: str, name: str, status: int, slug: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        Names(directory(ManualClock(), *served), "").find(name, project)
    assert (refused.value.status, refused.value.slug, refused.value.param) == (status, slug, "model")


def test_of_several_projects_the_only_one_that_serves_it_now_is_meant() -> None:
    clock = ManualClock()
    known = directory(clock, "P:m")
    clock.advance(3_600)
    for project, peer in (("Q", "late"), ("R", "gone")):
        offer = Offer(ProjectName(project), ModelName("m"), InstanceId(""), ModelKind.CHAT, 0)
        known.apply(Heartbeat(PeerId(peer), NodeFlags.HAS_MODELS, (offer,)))
    known.forget(PeerId("gone"))
    assert Names(known, "").find("m") == ("Q", "m")


@pytest.mark.parametrize(
    ("default", "project", "name"), [("", "", "m"), ("", "P", "m"), ("P", "", "m"), ("", "", "P/m"), ("Q", "", "m")]
)
def test_a_model_that_nobody_serves_any_more_is_away_for_a_while_and_then_unknown(
    default: str, project: str, name: str
) -> None:
    clock = ManualClock()
    known = directory(clock, "P:m", "P:other")
    known.apply(Heartbeat(PeerId("peer0"), NodeFlags(0), ()))
    names = Names(known, default)
    with pytest.raises(ApiError, match="at the moment") as refused:
        names.find(name, project)
    assert (refused.value.status, refused.value.slug) == (503, "no_candidate")
    clock.advance(defaults.NAME_LEFT_S + 1)
    with pytest.raises(ApiError) as refused:
        names.find(name, project)
    assert refused.value.status == 404


def test_a_model_that_is_back_is_not_away() -> None:
    known = directory(ManualClock(), "P:m", "Q:m")
    known.apply(Heartbeat(PeerId("peer0"), NodeFlags(0), ()))
    assert known.left(ModelName("m")) == ("P",)
    assert Names(known, "").find("m") == ("Q", "m"), "somebody else serves one of that name"
    offer = Offer(ProjectName("P"), ModelName("m"), InstanceId(""), ModelKind.CHAT, 0)
    known.apply(Heartbeat(PeerId("peer7"), NodeFlags.HAS_MODELS, (offer,)))
    assert known.left(ModelName("m")) == ()


def test_names_that_are_away_are_not_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "NAMES_LEFT_MAX", 2)
    known = directory(ManualClock(), "P:a", "P:b", "P:c")
    for number in range(3):
        known.apply(Heartbeat(PeerId(f"peer{number}"), NodeFlags(0), ()))
    assert [known.left(ModelName(name)) for name in "abc"] == [(), ("P",), ("P",)]


@pytest.mark.parametrize(("served", "name"), [(["P:m", "Q:m"], "m"), (["P:m", "Q:P/m"], "P/m")])
def test_what_a_key_may_not_ask_makes_no_name_unclear(served: list[str], name: str) -> None:
    names = Names(directory(ManualClock(), *served), "")
    assert names.find(name, may=lambda project, _: project == "P") == ("P", "m")
    with pytest.raises(ApiError) as refused:
        names.find(name, may=lambda _, __: False)
    assert refused.value.slug == "model_ambiguous"

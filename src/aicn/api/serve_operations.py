"""What an operator does with the models of a node, in the terms of `aicn.api.operations`."""

from __future__ import annotations

from typing import Final

from aicn.api import schemas
from aicn.api.errors import Code
from aicn.api.operation import BODY, FILE, Failure, Operation

_SERVED: Final = {"model": "llama", "api": "http://127.0.0.1:8080/v1/chat/completions", "type": 0, "cid": ""}
_NAMED: Final = {"project": "demo", "model": "llama", "cid": ""}
_NO_SUCH: Final = Failure(500, Code.MODEL, "this node has no such model")

SERVE_OPERATIONS: Final = (
    Operation(
        "POST",
        "/api/v0/ai/model/register",
        "Serve a model",
        "Add or update a model of this node",
        "The one with the same project, model and cid is replaced. The change is on disk when the answer comes, and "
        "the network is told.",
        request=schemas.RegisterModelRequest,
        example={"project": "demo"} | _SERVED,
        answer=schemas.Done,
        failures=(*BODY, FILE),
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/unregister",
        "Serve a model",
        "Remove a model of this node",
        "Requests under way go on to their end.",
        request=schemas.UnregisterModelRequest,
        example={"project": "demo", "model": "llama", "cid": ""},
        answer=schemas.Done,
        failures=(*BODY, FILE),
    ),
    Operation(
        "POST",
        "/api/v0/ai/project/register",
        "Serve a model",
        "Replace all models of a project",
        "Models that are not named are served no more.",
        request=schemas.RegisterProjectRequest,
        example={"project": "demo", "models": [_SERVED]},
        answer=schemas.Done,
        failures=(*BODY, FILE),
    ),
    Operation(
        "POST",
        "/api/v0/ai/project/unregister",
        "Serve a model",
        "Remove a project with its models",
        "Requests under way go on to their end.",
        request=schemas.UnregisterProjectRequest,
        example={"project": "demo"},
        answer=schemas.Done,
        failures=(*BODY, FILE),
    ),
    Operation(
        "GET",
        "/api/v0/ai/model/list",
        "Serve a model",
        "Models of this node",
        "Each with its state: serving, paused, or unreachable while its model server does not answer.",
        answer=schemas.OwnModels,
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/pause",
        "Serve a model",
        "Take no requests for a model",
        "Those under way go on to their end, others go to other nodes. It stays so over a restart.",
        request=schemas.ControlModelRequest,
        example=_NAMED,
        answer=schemas.Done,
        failures=(*BODY, FILE, _NO_SUCH),
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/resume",
        "Serve a model",
        "Take requests for a model again",
        "The network is told at once.",
        request=schemas.ControlModelRequest,
        example=_NAMED,
        answer=schemas.Done,
        failures=(*BODY, FILE, _NO_SUCH),
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/drain",
        "Serve a model",
        "Pause a model and wait for its requests",
        "Answers when none is under way any more, so that its server may be stopped; after five minutes in any case.",
        request=schemas.ControlModelRequest,
        example=_NAMED,
        answer=schemas.Drained,
        failures=(*BODY, FILE, _NO_SUCH),
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/cap",
        "Serve a model",
        "Limit the requests of a model",
        "What comes beyond is refused here, and goes to other nodes.",
        request=schemas.CapModelRequest,
        example=_NAMED | {"max_concurrent": 4},
        answer=schemas.Done,
        failures=(*BODY, FILE, _NO_SUCH),
    ),
    Operation(
        "POST",
        "/api/v0/ai/model/rename",
        "Serve a model",
        "Give a model another name",
        "Its model server goes on to be asked by the name that it knows.",
        request=schemas.RenameModelRequest,
        example={"project": "demo", "model": "llama", "name": "llama-3"},
        answer=schemas.Done,
        failures=(*BODY, FILE, _NO_SUCH),
    ),
)
"""Every route of the operator of a model."""

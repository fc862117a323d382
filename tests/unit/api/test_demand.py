from __future__ import annotations

import pytest

from aicn import defaults
from aicn.api.demand import Demand, demand_of
from aicn.endpoints import Endpoint
from aicn.ids import ModelName, ProjectName
from aicn.routing import Ask


def ask(body: bytes, endpoint: Endpoint = Endpoint.CHAT) -> Ask:
    return Ask(ProjectName("P"), ModelName("m"), body, endpoint=endpoint)


@pytest.mark.parametrize(
    ("members", "tokens"),
    [
        (b"", None),
        (b',"max_tokens":20', 20),
        (b',"max_completion_tokens":30', 30),
        (b',"max_output_tokens":40', 40),
        (b',"max_tokens":20,"max_completion_tokens":30', 30),
        (b',"max_tokens":null', None),
        (b',"max_tokens":20,"n":3', 60),
        (b',"max_tokens":20,"n":null', 20),
        (b',"max_tokens":20,"n":0', 20),
        (b',"max_tokens":"20"', None),
        (b',"max_tokens":-1', None),
        (b',"max_tokens":0', None),
        (b',"max_tokens":20,"best_of":4,"n":2', 80),
        (b',"max_tokens":20,"prompt":["a","b"]', 40),
        (b',"max_tokens":20,"prompt":[[1,2],[3]],"n":2', 80),
        (b',"max_tokens":20,"prompt":[1,2,3]', 20),
        (b',"max_tokens":20,"prompt":[]', 20),
        (b',"max_tokens":20,"prompt":"a"', 20),
        (b',"max_tokens":2.5', None),
        (b',"max_tokens":[1]', None),
        (b',"max_tokens":999999999999', defaults.REQUEST_TOKENS_MAX),
        (b',"max_tokens":9999999999999999999999', None),
        (b',"n":3', None),
    ],
)
def test_the_bounds_of_an_answer(members: bytes, tokens: int | None) -> None:
    body = b'{"model":"m"' + members + b"}"
    assert demand_of(ask(body)) == Demand(len(body), tokens)


def test_a_form_bounds_nothing_and_what_is_only_counted_takes_nothing() -> None:
    form = b'--b\r\ncontent-disposition: form-data; name="max_tokens"\r\n\r\n5\r\n--b--\r\n'
    assert demand_of(ask(form, Endpoint.TRANSCRIPTION)) == Demand(answer_tokens=0)
    assert demand_of(ask(b'{"max_tokens":5}', Endpoint.COUNT_TOKENS)) is None
    assert demand_of(ask(b'{"prompt":"a cat"}', Endpoint.IMAGE_GENERATION)) == Demand(18, 0)

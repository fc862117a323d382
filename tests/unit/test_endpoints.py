from __future__ import annotations

import pytest

from aicn.endpoints import ENDPOINT_OF_KIND, Endpoint, beside
from aicn.ids import ModelKind

BASE = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize("registered", Endpoint)
@pytest.mark.parametrize("wanted", Endpoint)
def test_every_endpoint_is_found_beside_every_other(registered: Endpoint, wanted: Endpoint) -> None:
    assert beside(f"{BASE}/{registered}", wanted) == f"{BASE}/{wanted}"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"{BASE}/chat/completions/", f"{BASE}/embeddings"),
        (f"{BASE}/chat/completions?key=1&v=2", f"{BASE}/embeddings?key=1&v=2"),
        ("http://127.0.0.1:8000/chat/completions", "http://127.0.0.1:8000/embeddings"),
        ("http://127.0.0.1:8000/api/chat", None),
        ("http://127.0.0.1:8000/v1", None),
        ("http://127.0.0.1:8000", None),
        ("http://127.0.0.1:8000/v1/mycompletions", None),
    ],
)
def test_the_base_is_what_stands_before_a_known_path(url: str, found: str | None) -> None:
    assert beside(url, Endpoint.EMBEDDINGS) == found


def test_each_kind_has_an_endpoint_of_that_kind() -> None:
    assert {kind: endpoint.kind for kind, endpoint in ENDPOINT_OF_KIND.items()} == {kind: kind for kind in ModelKind}

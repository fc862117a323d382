from __future__ import annotations

import pytest

from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.routing import Reservations

ONE = (PeerId("a"), ProjectName("p"), ModelName("m"), InstanceId("1"))
OTHER = (PeerId("a"), ProjectName("p"), ModelName("m"), InstanceId("2"))


def test_counts_while_the_block_lasts() -> None:
    reservations = Reservations()
    with reservations.reserve(ONE), reservations.reserve(ONE):
        assert reservations.count(ONE) == 2
        assert reservations.count(OTHER) == 0
    assert reservations.count(ONE) == 0


def test_error_gives_the_place_back() -> None:
    reservations = Reservations()

    def fail() -> None:
        with reservations.reserve(ONE):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert reservations.count(ONE) == 0

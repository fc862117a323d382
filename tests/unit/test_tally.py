from __future__ import annotations

from aicn.tally import Tally


def test_what_is_counted_down_to_nothing_takes_no_room() -> None:
    tally: Tally[str] = Tally()
    tally["a"] += 2
    tally["b"] += 5
    tally.take("a")
    assert dict(tally) == {"a": 1, "b": 5}
    tally.take("a")
    tally.take("b", 5)
    assert (len(tally), tally["a"], "a" in tally) == (0, 0, False)

from __future__ import annotations

from aicn import defaults
from aicn.ids import PeerId
from aicn.peers import Changes

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


def test_changes_since_a_count() -> None:
    changes = Changes()
    changes.follow()
    assert list(changes.since(0) or ()) == []
    changes.add(A)
    seen = changes.count
    changes.add(B)
    changes.add(C)
    assert changes.since(seen) == [B, C]
    assert changes.since(0) == [A, B, C]
    assert changes.since(changes.count) == []


def test_whoever_missed_that_all_may_have_changed_is_told_so() -> None:
    changes = Changes()
    changes.follow()
    changes.add(A)
    seen = changes.count
    changes.add_all()
    assert changes.since(seen) is None
    assert changes.since(changes.count) == []
    changes.add(B)
    assert changes.since(changes.count - 1) == [B]
    assert changes.since(seen) is None


def test_no_more_are_kept_than_can_be_caught_up_with() -> None:
    changes = Changes()
    changes.follow()
    for number in range(10 * defaults.CHANGES_KEPT):
        changes.add(PeerId(str(number)))
        assert len(changes._peers) < 2 * defaults.CHANGES_KEPT
    assert changes.since(0) is None
    last = changes.since(changes.count - defaults.CHANGES_KEPT + 1)
    assert last is not None
    assert last[-1] == str(10 * defaults.CHANGES_KEPT - 1)
    assert len(last) == defaults.CHANGES_KEPT - 1


def test_nothing_is_kept_for_nobody() -> None:
    changes = Changes()
    changes.add(A)
    assert not changes._peers
    seen = changes.follow()
    changes.add(B)
    assert (seen, changes.since(seen)) == (1, [B])
    assert changes.since(0) is None

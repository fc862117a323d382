from __future__ import annotations

import pytest

from aicn import defaults
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.routing.measurements import Measurements
from aicn.routing.reservations import Instance


def instance(name: str, model: str = "m", cid: str = "") -> Instance:
    return PeerId(name), ProjectName("P"), ModelName(model), InstanceId(cid)


def measured(name: str, times: int, first_s: float, token_s: float, now_s: float = 0.0) -> Measurements:
    made = Measurements()
    for _ in range(times):
        made.answered(instance(name), first_s, token_s, now_s)
    return made


def test_what_is_new_counts_as_somewhat_better_than_the_rest() -> None:
    made = measured("a", 200, 2.0, 0.1)
    new = made.of(instance("b"), 0.0)
    assert new.first_s == pytest.approx(2.0 * defaults.NEWCOMER_BONUS, rel=0.01)
    assert new.token_s == pytest.approx(0.1 * defaults.NEWCOMER_BONUS, rel=0.01)
    assert new.first_s < made.of(instance("a"), 0.0).first_s
    other = made.of(instance("b", "another model"), 0.0)
    assert other.first_s == defaults.FIRST_CONTENT_GUESS_S * defaults.NEWCOMER_BONUS


def test_a_guess_counts_no_more_when_something_was_measured() -> None:
    made = measured("a", 1, 0.02, 0.001)
    new = made.of(instance("b"), 0.0)
    assert new.first_s == pytest.approx(0.02 * defaults.NEWCOMER_BONUS)
    assert new.token_s == pytest.approx(0.001 * defaults.NEWCOMER_BONUS)
    made.answered(instance("a"), 0.04, None, 0.0)
    assert made.of(instance("b"), 0.0).first_s == pytest.approx(0.03 * defaults.NEWCOMER_BONUS)
    assert made.of(instance("b"), 0.0).token_s == new.token_s


def test_a_new_instance_at_a_node_that_is_known_is_expected_to_be_as_fast_as_its_neighbours() -> None:
    made = measured("fast", 50, 0.1, 0.01)
    for number in range(3):
        made.answered(instance("slow", cid=f"{number}"), 9.0, 0.5, 0.0)
    made.failed(instance("slow", cid="0"), 0.0)
    new = made.of(instance("slow", cid="new"), 0.0)
    assert new.first_s > 5.0
    assert new.failing == 0.0, "but not to fail as one of them does"
    assert made.of(instance("other", cid="new"), 0.0).first_s < 2.0
    assert made.of(instance("slow", "another model", "new"), 0.0).first_s < 1.0
    later = made.of(instance("slow", cid="new"), 20 * defaults.MEASURED_FADES_S)
    assert later.first_s == pytest.approx(made.of(instance("other"), 0.0).first_s), "and is forgotten like them"


def test_what_was_measured_of_an_instance_counts_more_than_its_node() -> None:
    made = Measurements()
    for _ in range(50):
        made.answered(instance("a", cid="fast"), 0.1, 0.01, 0.0)
        made.answered(instance("a", cid="slow"), 5.0, 0.01, 0.0)
    assert made.of(instance("a", cid="fast"), 0.0).first_s == pytest.approx(0.1, rel=0.05)
    assert made.of(instance("a", cid="slow"), 0.0).first_s == pytest.approx(5.0, rel=0.05)


def test_trust_is_lost_fast_and_won_slowly() -> None:
    made = measured("a", 100, 0.1, 0.01)
    made.answered(instance("a"), 1.1, 0.01, 0.0)
    worse = made.of(instance("a"), 0.0).first_s
    assert worse == pytest.approx(0.6, abs=0.05)
    made.answered(instance("a"), 0.1, 0.01, 0.0)
    assert made.of(instance("a"), 0.0).first_s > 0.5
    made.failed(instance("a"), 0.0)
    failing = made.of(instance("a"), 0.0).failing
    assert failing == 0.5
    made.answered(instance("a"), 0.1, 0.01, 0.0)
    assert 0.4 < made.of(instance("a"), 0.0).failing < failing


def test_refusals_count_as_what_they_are_among_all_requests() -> None:
    made = Measurements()
    for _ in range(50):
        made.refused(instance("never"), 0.0)
        made.refused(instance("at times"), 0.0)
        for _ in range(4):
            made.answered(instance("at times"), 0.1, 0.01, 0.0)
    assert made.of(instance("never"), 0.0).failing > 0.99
    assert made.of(instance("at times"), 0.0).failing < 0.3


def test_what_was_measured_long_ago_is_forgotten() -> None:
    made = measured("a", 1, 50.0, 5.0)
    made.failed(instance("a"), 0.0)
    later = made.of(instance("a"), 20 * defaults.MEASURED_FADES_S)
    new = made.of(instance("b"), 0.0)
    assert later.first_s == pytest.approx(new.first_s)
    assert later.failing == pytest.approx(0.0, abs=1e-6)


def test_what_could_not_be_measured_changes_nothing() -> None:
    made = measured("a", 50, 0.1, 0.01)
    before = made.of(instance("a"), 0.0)
    made.answered(instance("a"), None, None, 0.0)
    after = made.of(instance("a"), 0.0)
    assert (before.first_s, before.token_s) == (after.first_s, after.token_s)


def test_usual_time_is_known_of_those_that_were_asked() -> None:
    made = measured("a", 100, 0.25, 0.01)
    assert made.first_content_s(instance("a")) == pytest.approx(0.25, rel=0.01)
    assert made.first_content_s(instance("b")) is None


def test_the_least_recently_measured_goes_first() -> None:
    made = Measurements(max_instances=3)
    for name in ("a", "b", "c", "a", "d"):
        made.answered(instance(name, name), 9.0, 9.0, 0.0)
    assert len(made) == 3
    assert made.first_content_s(instance("b", "b")) is None
    assert made.first_content_s(instance("a", "a")) is not None


@pytest.mark.parametrize(("tokens", "whole_s"), [(3_000, 60.5), (100, 2.5), (1, 0.52)])
def test_a_long_answer_that_comes_whole_makes_nobody_slow(tokens: int, whole_s: float) -> None:
    made = measured("a", 200, 0.5, 0.02)
    made.wrote(instance("a"), whole_s, tokens, 0.0)
    after = made.of(instance("a"), 0.0)
    assert after.first_s == pytest.approx(0.5, rel=0.01)
    assert after.token_s == pytest.approx(0.02, rel=0.01)


def test_an_answer_that_comes_whole_and_late_makes_its_instance_slow() -> None:
    made = measured("a", 200, 0.5, 0.02)
    made.wrote(instance("a"), 600.0, 0, 0.0)
    assert made.of(instance("a"), 0.0).first_s == pytest.approx(0.5, rel=0.01), "nobody knows how much was written"
    made.wrote(instance("a"), 25.0, 100, 0.0)
    assert made.of(instance("a"), 0.0).token_s > 0.1

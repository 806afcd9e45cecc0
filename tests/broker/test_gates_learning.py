"""A gate learns how long things take: timeouts from it, and when to let fewer go."""

from __future__ import annotations

from collections.abc import Iterator
from time import time

import pytest

from broker.gate_states import Standing, Usual, key_of
from broker.gates import Answer, Came, Gates
from broker.settings import BrokerSettings
from tests.broker.gatekeeping import CRM, Keeper, keeping


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def timeouts(keeper: Keeper) -> tuple[float | None, float | None]:
    held = keeper.enter()
    keeper.gates.leave(held, Came.NOTHING)
    return held.first_token_s, held.total_s


def go_slow(keeper: Keeper, *, total_s: float, times: int) -> None:
    """Slow answers, each so long after the one before that another decrease is due."""
    for _ in range(times):
        keeper.call(total_s=total_s)
        keeper.pass_time(1.2)


# -- timeouts -------------------------------------------------------------------------------------


def test_nothing_is_said_before_enough_is_known(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0, first_s=0.9, times=19)
    assert timeouts(keeper) == (None, None)
    keeper.learn(total_s=1.0, first_s=0.9, times=1)
    assert timeouts(keeper) == (pytest.approx(2.7), pytest.approx(3.0))


def test_first_tokens_and_answers_are_learned_apart(keeper: Keeper) -> None:
    keeper.learn(total_s=10.0)
    keeper.learn(total_s=10.0, first_s=1.0, times=10)
    assert timeouts(keeper) == (None, pytest.approx(30.0))
    keeper.learn(total_s=10.0, first_s=1.0, times=10)
    assert timeouts(keeper) == (pytest.approx(3.0), pytest.approx(30.0))


def test_a_timeout_is_never_less_than_two_seconds(keeper: Keeper) -> None:
    keeper.learn(total_s=0.01, first_s=0.001)
    assert timeouts(keeper) == (2.0, 2.0)


def test_the_slowest_of_a_hundred_makes_no_timeout(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0, times=198)
    keeper.learn(total_s=50.0, times=2)
    assert timeouts(keeper)[1] == pytest.approx(3.0)


def test_timeouts_are_not_learned_from_but_double_it_until_the_next_answer(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    for expected_s in (6.0, 12.0, 24.0, 24.0):
        keeper.call(Came.TIMED_OUT, total_s=3.0)
        assert timeouts(keeper)[1] == pytest.approx(expected_s)
        assert keeper.state.total_timeout_s == pytest.approx(expected_s)
    keeper.call(total_s=1.0)
    assert timeouts(keeper)[1] == pytest.approx(3.0)


def test_one_that_is_slower_for_good_is_waited_for_after_a_few_answers(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0, times=200)
    for _ in range(3):
        keeper.call(Came.TIMED_OUT)
        keeper.call(total_s=5.0)
    assert timeouts(keeper)[1] == pytest.approx(15.0)


# -- the limit ------------------------------------------------------------------------------------


def test_the_limit_grows_by_one_a_round_while_it_is_used(keeper: Keeper) -> None:
    keeper.set(limit=4)
    keeper.fill(3)
    for _ in range(4):
        keeper.call(Came.OK)
    assert keeper.limit == pytest.approx(5.0, abs=0.1)


def test_a_limit_that_nobody_needs_does_not_grow(keeper: Keeper) -> None:
    for _ in range(50):
        keeper.call(Came.OK)
    assert keeper.limit == 16


def test_the_limit_has_a_ceiling(keeper: Keeper) -> None:
    keeper.set(limit=200)
    keeper.fill(150)
    keeper.call(Came.OK)
    assert keeper.limit == 200


def test_slow_answers_lower_it_and_quick_ones_bring_it_back(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    limits = []
    for _ in range(40):
        go_slow(keeper, total_s=3.0, times=1)
        limits.append(keeper.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 4
    assert keeper.state.standing is Standing.OPEN
    keeper.fill(3)
    for _ in range(60):
        keeper.call(total_s=1.0)
    assert keeper.limit > 7


def test_slow_first_tokens_lower_it_though_the_answer_is_as_quick_as_ever(keeper: Keeper) -> None:
    keeper.learn(total_s=10.0, first_s=0.5)
    for _ in range(25):
        keeper.call(total_s=10.0, first_s=1.5)
    assert keeper.limit < 16


def test_a_few_slow_answers_among_many_lower_nothing(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    for _ in range(30):
        keeper.call(total_s=3.0)
        keeper.call(total_s=1.0)
        keeper.call(total_s=1.0)
        keeper.pass_time(1.2)
    assert keeper.limit == 16


def test_many_slow_answers_at_once_are_one_decrease(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    keeper.pass_time(31)
    for held in keeper.fill(16):
        keeper.gates.leave(held, Came.OK, total_s=3.0)
    assert keeper.limit == pytest.approx(16 * 0.7)


def test_timeouts_lower_it_once_in_a_while_too(keeper: Keeper) -> None:
    for _ in range(3):
        keeper.call(Came.TIMED_OUT)
    assert keeper.limit == pytest.approx(16 * 0.7)


def test_what_is_slow_stays_slow_for_long_but_not_for_ever(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0, times=200)
    go_slow(keeper, total_s=3.0, times=200)
    assert float(keeper.kept()["total_base_s"]) < 1.5
    assert keeper.limit == 4
    for _ in range(4):
        keeper.pass_time(3_600)
        keeper.learn(total_s=3.0, times=10)
    assert float(keeper.kept()["total_base_s"]) == pytest.approx(3.0)
    keeper.fill(3)
    keeper.learn(total_s=3.0, times=30)
    assert keeper.limit > 5


def test_the_line_moves_at_the_pace_that_was_learned(keeper: Keeper) -> None:
    keeper.learn(total_s=5.0)
    keeper.set(limit=2)
    keeper.fill(2)
    assert 2.5 <= keeper.enter().wait_s <= 3.0


def test_usual_times_are_shown(keeper: Keeper) -> None:
    for took_s in range(1, 101):
        keeper.call(total_s=float(took_s) / 100, first_s=0.1)
    assert keeper.state.total == Usual(0.5, 0.99)
    assert keeper.state.first == Usual(0.1, 0.1)


# -- slowness that has not come back yet ----------------------------------------------------------


def test_nobody_follows_when_half_of_the_calls_out_there_are_overdue(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    overdue = keeper.fill(4)
    keeper.pass_time(3.1)
    turned_away = keeper.enter()
    assert (turned_away.answer, turned_away.reason) == (Answer.FULL, "slow")
    assert turned_away.wait_s > 0.5, "as long as the slow ones may take, not as quick ones would"
    keeper.gates.leave(overdue[0], Came.OK, total_s=3.1)
    assert keeper.enter().is_open, "three are not enough to say so"


def test_many_young_calls_outweigh_a_few_that_are_overdue(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    keeper.fill(4)
    keeper.pass_time(3.1)
    keeper.redis.zadd(key_of("since", CRM), dict.fromkeys(map(str, range(5)), time()))
    keeper.redis.zadd(key_of("flight", CRM), dict.fromkeys(map(str, range(5)), time() + 60))
    assert keeper.enter().is_open


def test_a_bad_sign_lowers_from_what_was_out_and_not_from_a_limit_nobody_tried(
    keeper: Keeper,
) -> None:
    keeper.set(limit=1000)
    for held in keeper.fill(40):
        keeper.gates.leave(held, Came.TIMED_OUT)
    assert keeper.limit == pytest.approx(40 * 0.7)


def test_a_wide_limit_grows_by_a_share_of_itself(keeper: Keeper) -> None:
    keeper.set(limit=100)
    keeper.fill(60)
    for _ in range(100):
        keeper.call()
    assert keeper.limit == pytest.approx(105)


def test_of_what_nothing_is_known_a_thousand_calls_go_at_once(
    broker_settings: BrokerSettings,
) -> None:
    gates = Gates(broker_settings)
    answers = [gates.enter(CRM, f"job:{n}", lease_s=60) for n in range(1_001)]
    assert [each.is_open for each in answers] == [True] * 1_000 + [False]
    gates.close()

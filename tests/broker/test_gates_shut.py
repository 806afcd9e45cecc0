"""A gate shuts when calls fail, crawl or are told to stop, and opens by one probe, from small."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from broker.gate_states import Standing, key_of
from broker.gates import Answer, Came, Pass
from broker.settings import BrokerSettings
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping
from tests.running import at_once


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def fail(keeper: Keeper, times: int, came: Came = Came.FAILED) -> None:
    for _ in range(times):
        keeper.call(came)


def break_down(keeper: Keeper) -> None:
    fail(keeper, 5)
    assert keeper.state.standing is Standing.SHUT


def until_probe(keeper: Keeper) -> None:
    keeper.pass_time(keeper.state.shut_for_s)
    assert keeper.state.standing is Standing.PROBING


def send_probe(keeper: Keeper, holder: str = "probe:1") -> Pass:
    until_probe(keeper)
    probe = keeper.enter(holder)
    assert probe.answer is Answer.PROBE
    return probe


def shut_for(keeper: Keeper) -> float:
    return keeper.state.shut_for_s


# -- the breaker ----------------------------------------------------------------------------------


def test_five_failures_in_a_row_shut_it(keeper: Keeper) -> None:
    fail(keeper, 4)
    assert keeper.state.standing is Standing.OPEN
    fail(keeper, 1)
    assert (keeper.state.standing, keeper.state.reason) == (Standing.SHUT, "breaker")
    assert 0.5 < shut_for(keeper) <= 1.2
    turned_away = keeper.enter()
    assert (turned_away.answer, turned_away.reason) == (Answer.CLOSED, "breaker")
    assert turned_away.wait_s > 0.5


def test_half_of_ten_failures_shut_it_and_fewer_do_not(keeper: Keeper) -> None:
    for _ in range(4):
        keeper.call(Came.OK)
        keeper.call(Came.FAILED)
    keeper.call(Came.OK)
    assert keeper.state.standing is Standing.OPEN
    keeper.call(Came.FAILED)
    assert keeper.state.standing is Standing.SHUT


def test_failures_of_long_ago_do_not_count(keeper: Keeper) -> None:
    fail(keeper, 4)
    keeper.pass_time(31)
    fail(keeper, 4)
    assert keeper.state.standing is Standing.OPEN


def test_what_says_nothing_about_the_dependency_does_not_count(keeper: Keeper) -> None:
    fail(keeper, 30, Came.NOTHING)
    assert keeper.state.standing is Standing.OPEN
    assert keeper.limit == 16


def test_answers_that_crawl_shut_it_though_they_come(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    keeper.redis.delete(key_of("results", CRM))
    for _ in range(9):
        keeper.call(total_s=5.0)
    assert keeper.state.standing is Standing.OPEN
    keeper.call(total_s=5.0)
    assert (keeper.state.standing, keeper.state.reason) == (Standing.SHUT, "slow")


def test_one_slow_answer_after_failures_does_not_shut_it(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    keeper.redis.delete(key_of("results", CRM))
    for _ in range(4):
        keeper.call(Came.FAILED)
        keeper.call(total_s=1.0)
    keeper.call(Came.FAILED)
    keeper.call(total_s=3.0)
    assert keeper.state.standing is Standing.OPEN


def test_of_all_that_come_when_the_time_is_over_one_goes(keeper: Keeper) -> None:
    break_down(keeper)
    until_probe(keeper)
    said = at_once(
        [lambda n=n: keeper.gates.enter(CRM, f"crowd:{n}", lease_s=LEASE_S) for n in range(20)]
    )
    assert sorted(each.answer for each in said) == [Answer.CLOSED] * 19 + [Answer.PROBE]


def ask_again(keeper: Keeper) -> Pass:
    """A call that has failed before, and comes back."""
    return keeper.gates.enter(CRM, "again:1", lease_s=LEASE_S, is_first_try=False)


def test_a_call_that_failed_already_leaves_the_probe_to_a_new_one(keeper: Keeper) -> None:
    break_down(keeper)
    until_probe(keeper)
    turned_away = ask_again(keeper)
    assert turned_away.answer is Answer.CLOSED
    assert 0 < turned_away.wait_s <= 6
    assert keeper.enter("new:1").answer is Answer.PROBE


def test_where_no_new_one_comes_a_call_that_failed_is_the_probe(keeper: Keeper) -> None:
    break_down(keeper)
    until_probe(keeper)
    keeper.pass_time(2.1)
    assert ask_again(keeper).answer is Answer.PROBE


def test_a_probe_that_went_well_opens_it_small_and_each_round_doubles(keeper: Keeper) -> None:
    keeper.set(limit=20)
    break_down(keeper)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    limits = [keeper.limit]
    for _ in range(5):
        for _ in range(int(limits[-1])):
            keeper.call(Came.OK)
        limits.append(keeper.limit)
    # On the way back it doubles; what it bore before is approached carefully again.
    assert limits == [4, 8, 16, 20, 20, 20]
    assert keeper.kept()["limit_before"] == "0"


def test_one_that_breaks_down_again_on_the_way_back_still_finds_its_way(keeper: Keeper) -> None:
    for _ in range(2):
        break_down(keeper)
        keeper.gates.leave(send_probe(keeper), Came.OK)
    for _ in range(12):
        keeper.call(Came.OK)
    assert keeper.limit == 16


def test_a_small_limit_is_not_larger_after_a_closing(keeper: Keeper) -> None:
    keeper.set(limit=2)
    break_down(keeper)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    assert keeper.limit == 2


def test_each_probe_that_fails_doubles_the_closing_up_to_its_bound(keeper: Keeper) -> None:
    break_down(keeper)
    for least_s in (2, 4, 8, 15, 15):
        keeper.gates.leave(send_probe(keeper), Came.FAILED)
        assert least_s - 0.5 < shut_for(keeper) <= least_s * 1.2
    keeper.gates.leave(send_probe(keeper), Came.OK)
    break_down(keeper)
    assert shut_for(keeper) <= 1.2


def test_a_probe_lost_with_its_worker_lets_another_go_long_before_its_lease(keeper: Keeper) -> None:
    break_down(keeper)
    send_probe(keeper, "lost:1")
    assert keeper.enter().answer is Answer.CLOSED
    keeper.pass_time(30.5)
    assert keeper.enter().answer is Answer.PROBE
    assert keeper.enter().answer is Answer.CLOSED


def test_a_step_that_was_the_probe_and_comes_again_is_the_probe(keeper: Keeper) -> None:
    break_down(keeper)
    send_probe(keeper, "job:1")
    assert keeper.enter("job:1").answer is Answer.PROBE
    assert keeper.state.in_flight == 1


def test_a_probe_that_learned_nothing_lets_the_next_go_at_once(keeper: Keeper) -> None:
    break_down(keeper)
    keeper.gates.leave(send_probe(keeper), Came.NOTHING)
    assert keeper.state.standing is Standing.PROBING
    assert keeper.enter("next:1").answer is Answer.PROBE


def test_a_call_from_before_the_closing_opens_nothing(keeper: Keeper) -> None:
    early = keeper.enter()
    break_down(keeper)
    keeper.gates.leave(early, Came.OK)
    assert keeper.state.standing is Standing.SHUT
    early = keeper.enter()
    until_probe(keeper)
    keeper.gates.leave(early, Came.OK)
    assert keeper.state.standing is Standing.PROBING


def test_a_probe_opens_nothing_when_the_other_side_named_a_later_time_meanwhile(
    keeper: Keeper,
) -> None:
    early = keeper.enter()
    break_down(keeper)
    probe = send_probe(keeper)
    keeper.gates.leave(early, Came.RATE_LIMITED, retry_after_s=50)
    keeper.gates.leave(probe, Came.OK)
    assert (keeper.state.standing, keeper.state.reason) == (Standing.SHUT, "rate_limited")


def test_who_waited_comes_back_one_after_the_other(keeper: Keeper) -> None:
    keeper.set(limit=2, usual_s=2.0)
    break_down(keeper)
    keeper.set(usual_s=2.0)
    for place in range(5):
        wait_s = keeper.enter(f"job:{place}:9").wait_s - shut_for(keeper)
        assert place + 0.9 <= wait_s <= 1.2 * (place + 1) + 0.1


def test_a_closing_is_told_once_and_so_is_the_opening(keeper: Keeper) -> None:
    with capture_logs() as logs:
        held = keeper.fill(10)
        for each in held:
            keeper.gates.leave(each, Came.FAILED)
        keeper.gates.leave(send_probe(keeper), Came.OK)
    assert [each["event"] for each in logs] == ["gate.shut", "gate.reopened"]


# -- too many requests ----------------------------------------------------------------------------


def test_a_burst_of_429_is_one_decrease_and_one_closing(keeper: Keeper) -> None:
    for each in keeper.fill(16):
        keeper.gates.leave(each, Came.RATE_LIMITED, retry_after_s=7)
    assert keeper.limit == pytest.approx(16 * 0.7)
    assert keeper.kept()["trips"] == "1"
    assert 6.5 < shut_for(keeper) <= 7 * 1.05
    assert keeper.enter().reason == "rate_limited"


def test_a_burst_without_a_time_does_not_double_the_closing(keeper: Keeper) -> None:
    for each in keeper.fill(16):
        keeper.gates.leave(each, Came.RATE_LIMITED)
    assert shut_for(keeper) <= 2.4


def test_without_a_time_each_probe_that_is_refused_doubles_it(keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED)
    for least_s in (4, 8, 16, 32, 60, 60):
        keeper.gates.leave(send_probe(keeper), Came.RATE_LIMITED)
        assert least_s - 0.5 < shut_for(keeper) <= least_s * 1.2
    # One call at a time was refused, so that says nothing about how many at once it bears.
    assert keeper.limit == pytest.approx(16 * 0.7)


@pytest.mark.parametrize(
    ("named_s", "least_s", "most_s"),
    [(86_400.0, 599, 631), (0.0, 0.5, 1.1), (-5.0, 0.5, 1.1), (math.nan, 0.5, 631)],
)
def test_the_time_that_is_named_has_bounds(
    keeper: Keeper, named_s: float, least_s: float, most_s: float
) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=named_s)
    assert least_s <= shut_for(keeper) <= most_s


def test_the_latest_of_the_named_times_holds(keeper: Keeper) -> None:
    for each, named_s in zip(keeper.fill(3), (5, 40, 3), strict=True):
        keeper.gates.leave(each, Came.RATE_LIMITED, retry_after_s=named_s)
    assert 39 < shut_for(keeper) <= 42


def test_those_who_are_sent_away_are_not_called_back_before_it_opens(keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=300)
    waits = {keeper.enter().wait_s for _ in range(10)}
    assert min(waits) > 299
    assert len(waits) == 10


def test_after_too_many_requests_it_grows_fast_only_to_what_it_was_lowered_to(
    keeper: Keeper,
) -> None:
    keeper.call(Came.RATE_LIMITED)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    for _ in range(100):
        keeper.call(Came.OK)
    assert keeper.limit == pytest.approx(16 * 0.7)


def test_how_many_were_too_many_is_not_tried_again_for_a_minute(keeper: Keeper) -> None:
    keeper.set(limit=9)
    held = keeper.fill(9)
    for _ in range(3):
        keeper.gates.leave(held.pop(), Came.RATE_LIMITED)
    for each in held:
        keeper.gates.leave(each, Came.OK)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    for _ in range(10):
        keeper.call(Came.OK)
    keeper.fill(5)
    for _ in range(100):
        keeper.call(Came.OK)
    assert keeper.limit == pytest.approx(8.0)
    keeper.pass_time(61)
    for _ in range(20):
        keeper.call(Came.OK)
    assert keeper.limit > 9


def test_one_call_that_is_too_many_by_itself_says_little_about_how_many_at_once(
    keeper: Keeper,
) -> None:
    keeper.call(Came.RATE_LIMITED)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    for _ in range(10):
        keeper.call(Came.OK)
    keeper.fill(6)
    for _ in range(20):
        keeper.call(Came.OK)
    assert keeper.limit == pytest.approx(16 * 0.7)


def test_on_the_way_back_it_heeds_a_new_sign_of_too_much(keeper: Keeper) -> None:
    break_down(keeper)
    keeper.gates.leave(send_probe(keeper), Came.OK)
    for _ in range(6):
        keeper.call(Came.OK)
    assert keeper.limit == 10
    keeper.call(Came.TIMED_OUT)
    for _ in range(100):
        keeper.call(Came.OK)
    assert keeper.limit == pytest.approx(7.0)


def test_a_used_up_quota_shuts_it_for_long(keeper: Keeper) -> None:
    keeper.call(Came.QUOTA)
    assert keeper.state.reason == "quota"
    assert 59 < shut_for(keeper) <= 72
    for _ in range(5):
        keeper.gates.leave(send_probe(keeper), Came.QUOTA)
    assert 599 < shut_for(keeper) <= 720

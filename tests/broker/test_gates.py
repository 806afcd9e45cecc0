"""A gate lets as many go as its limit says, and keeps the line for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from threading import Lock
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.gate_states import key_of
from broker.gates import Answer, Came, Gates, Pass
from broker.settings import BrokerSettings
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping
from tests.running import at_once

FIRST_LIMIT = 16


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def narrow(keeper: Keeper, limit: int, *, usual_s: float = 1.0) -> None:
    keeper.set(limit=limit, usual_s=usual_s)


def leave(keeper: Keeper, held: Pass) -> None:
    """Give it back without a word about the dependency, so that the limit stays."""
    keeper.gates.leave(held, Came.NOTHING)


# -- the limit ------------------------------------------------------------------------------------


def test_as_many_go_as_the_limit_and_the_next_is_told_when_to_come_back(keeper: Keeper) -> None:
    keeper.fill(FIRST_LIMIT)
    turned_away = keeper.enter()
    assert (turned_away.answer, turned_away.reason) == (Answer.FULL, "limit")
    assert not turned_away.is_open
    assert 0.1 <= turned_away.wait_s <= 30


def test_a_pass_given_back_lets_another_go(keeper: Keeper) -> None:
    narrow(keeper, 1)
    (held,) = keeper.fill(1)
    turned_away = keeper.enter("next:1")
    assert not turned_away.is_open
    leave(keeper, held)
    keeper.pass_time(turned_away.wait_s)
    assert keeper.enter("next:1").answer is Answer.GO


def test_gates_of_several_processes_are_one_gate(
    keeper: Keeper, broker_settings: BrokerSettings
) -> None:
    keeper.fill(FIRST_LIMIT)
    other = Gates(broker_settings)
    assert other.enter(CRM, "elsewhere", lease_s=LEASE_S).answer is Answer.FULL
    assert other.enter("mail", "elsewhere", lease_s=LEASE_S).answer is Answer.GO
    other.close()


def test_the_pass_of_a_dead_worker_ends_with_its_lease(keeper: Keeper) -> None:
    narrow(keeper, 1)
    keeper.enter("dead:1", lease_s=10)
    assert not keeper.enter("alive:1").is_open
    keeper.pass_time(10.5)
    assert keeper.enter("alive:1").answer is Answer.GO


def test_a_step_that_asks_again_is_not_kept_out_by_its_own_dead_worker(keeper: Keeper) -> None:
    narrow(keeper, 1)
    keeper.enter("job:1")
    assert keeper.enter("job:1").answer is Answer.GO
    assert keeper.state.in_flight == 1


def test_under_any_crowd_of_threads_never_more_than_the_limit_are_in_flight(
    keeper: Keeper,
) -> None:
    narrow(keeper, 3)
    lock, inside, most = Lock(), [0], [0]

    def come_and_go(name: str) -> int:
        gone = 0
        for number in range(15):
            held = keeper.gates.enter(CRM, f"{name}:{number}", lease_s=LEASE_S)
            if not held.is_open:
                continue
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            gone += 1
            with lock:
                inside[0] -= 1
            leave(keeper, held)
        return gone

    gone = at_once([lambda name=f"t{n}": come_and_go(name) for n in range(12)])
    assert sum(gone) > 0
    assert most[0] <= 3


MOVES = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "later"]), st.integers(0, 7)), max_size=40
)


@given(moves=MOVES, limit=st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_in_any_order_of_coming_and_going_the_limit_holds(
    keeper: Keeper, moves: list[tuple[str, int]], limit: int
) -> None:
    keeper.redis.flushall()
    narrow(keeper, limit)
    held: dict[int, Pass] = {}
    for move, who in moves:
        if move == "enter" and who not in held:
            asked = keeper.enter(f"job:{who}")
            if asked.is_open:
                held[who] = asked
            else:
                assert asked.answer is Answer.FULL
                assert 0.1 <= asked.wait_s <= 30
        elif move == "leave" and who in held:
            leave(keeper, held.pop(who))
        elif move == "later":
            keeper.pass_time(float(who))
        assert len(held) <= limit
        assert keeper.redis.zcard(key_of("flight", CRM)) == len(held)


# -- the line -------------------------------------------------------------------------------------


def test_who_comes_later_is_told_to_come_back_later(keeper: Keeper) -> None:
    narrow(keeper, 2, usual_s=4.0)
    keeper.fill(2)
    waits = [keeper.enter().wait_s for _ in range(3)]
    # A pass comes free every two seconds; the jitter adds up to a fifth.
    for place, wait_s in enumerate(waits):
        assert 2.0 * (place + 1) <= wait_s <= 2.4 * (place + 1) + 0.001


def test_a_long_line_is_told_no_more_than_half_a_minute_and_not_all_the_same(
    keeper: Keeper,
) -> None:
    narrow(keeper, 1, usual_s=100.0)
    keeper.fill(1)
    waits = {keeper.enter().wait_s for _ in range(20)}
    assert max(waits) <= 30
    assert len(waits) == 20


def test_whoever_comes_back_keeps_its_place(keeper: Keeper) -> None:
    narrow(keeper, 1, usual_s=2.0)
    keeper.fill(1)
    keeper.enter("first:1")
    for _ in range(5):
        keeper.enter()
    for _ in range(3):
        keeper.pass_time(3.0)
        again = keeper.enter("first:1")
        assert again.answer is Answer.FULL
        assert again.wait_s <= 2.4


def test_a_free_pass_goes_to_whoever_is_there_to_take_it(keeper: Keeper) -> None:
    narrow(keeper, 1)
    (held,) = keeper.fill(1)
    keeper.enter("waiting:1")
    leave(keeper, held)
    assert keeper.enter("new:1").answer is Answer.GO
    assert keeper.enter("waiting:1").answer is Answer.FULL


def test_in_a_long_line_nobody_is_sent_away_for_much_longer_than_a_call_takes(
    keeper: Keeper,
) -> None:
    narrow(keeper, 1, usual_s=3.0)
    keeper.fill(1)
    waits = [keeper.enter().wait_s for _ in range(20)]
    assert 5.0 < max(waits) <= 2 * 3.0 * 1.2


class Lot(Random):
    """Draws what it is told to."""

    drawn = 0.5

    def random(self) -> float:
        return self.drawn


def test_the_last_free_passes_are_for_the_more_urgent_who_are_about_to_come(
    broker_settings: BrokerSettings,
) -> None:
    with keeping(broker_settings, lot := Lot()) as keeper:
        narrow(keeper, 2, usual_s=0.5)
        held = keeper.fill(2)
        urgent = keeper.enter("urgent:1", rank=1)
        assert urgent.answer is Answer.FULL
        leave(keeper, held[0])
        assert keeper.enter("batch:1", rank=4).answer is Answer.FULL
        assert keeper.enter("batch:2", rank=1).answer is Answer.GO, "of the same rank"
        leave(keeper, held[1])
        lot.drawn = 0.04
        assert keeper.enter("batch:1", rank=4).answer is Answer.GO, "one time in twenty"
        lot.drawn = 0.5
        keeper.redis.delete(key_of("flight", CRM))
        assert keeper.enter("batch:3", rank=4).answer is Answer.GO, "two are free, one is wanted"
        assert keeper.enter("batch:4", rank=4).answer is Answer.FULL
        keeper.pass_time(3.0)
        assert keeper.enter("batch:4", rank=4).answer is Answer.GO, "the urgent one did not come"


def test_a_free_pass_is_kept_for_a_tenant_that_has_fewer_calls_out(
    broker_settings: BrokerSettings,
) -> None:
    with keeping(broker_settings, Lot()) as keeper:
        narrow(keeper, 4, usual_s=0.5)
        noisy = [keeper.enter(f"noisy:{n}") for n in range(4)]
        assert keeper.enter("ada:1").answer is Answer.FULL
        assert keeper.enter("ben:1", rank=3).answer is Answer.FULL
        leave(keeper, noisy[0])
        assert keeper.enter("noisy:5").answer is Answer.FULL, "it has three out, and ada none"
        assert keeper.enter("ada:1").answer is Answer.GO
        leave(keeper, noisy[1])
        assert keeper.enter("noisy:5").answer is Answer.GO, "ben's is less urgent"


def test_no_more_is_kept_for_a_tenant_than_makes_it_even(broker_settings: BrokerSettings) -> None:
    with keeping(broker_settings, Lot()) as keeper:
        narrow(keeper, 4, usual_s=0.5)
        held = [keeper.enter(name) for name in ("noisy:1", "noisy:2", "ada:1", "ben:1")]
        for n in range(2, 9):
            assert keeper.enter(f"ada:{n}").answer is Answer.FULL
        leave(keeper, held[3])
        assert keeper.enter("noisy:3").answer is Answer.FULL, "one is free, and ada has one less"
        assert keeper.enter("ben:2").answer is Answer.GO, "who has none is not behind ada"


def test_everybody_is_told_to_come_while_there_is_time_for_the_call(keeper: Keeper) -> None:
    narrow(keeper, 1, usual_s=3.0)
    keeper.fill(1)
    assert keeper.enter("job:late", left_s=3.8).wait_s == pytest.approx(0.8)
    assert keeper.enter("job:early", left_s=60.0).wait_s > 3.0


def test_nothing_is_kept_for_one_that_has_no_time_left(broker_settings: BrokerSettings) -> None:
    with keeping(broker_settings, Lot()) as keeper:
        narrow(keeper, 1, usual_s=0.5)
        (held,) = keeper.fill(1)
        assert keeper.enter("urgent:1", left_s=0.3).answer is Answer.FULL
        leave(keeper, held)
        assert keeper.enter("batch:1", rank=4).answer is Answer.GO


def test_who_is_less_urgent_is_nobody_to_wait_for(keeper: Keeper) -> None:
    narrow(keeper, 1, usual_s=1.0)
    keeper.fill(1)
    waits_s = [keeper.enter(rank=4).wait_s for _ in range(10)]
    assert max(waits_s) > 1.9
    assert keeper.enter(rank=1).wait_s < 1.3
    assert keeper.enter(rank=4).wait_s > 1.9


def test_nothing_is_kept_for_one_that_does_not_come(keeper: Keeper) -> None:
    narrow(keeper, 1)
    (held,) = keeper.fill(1)
    keeper.enter("cancelled:1")
    leave(keeper, held)
    keeper.pass_time(4.0)
    assert keeper.enter("new:1").answer is Answer.GO


def test_a_crowd_that_never_comes_back_does_not_keep_everybody_out(keeper: Keeper) -> None:
    narrow(keeper, 4)
    held = keeper.fill(4)
    for _ in range(40):
        keeper.enter()
    for each in held:
        leave(keeper, each)
    for _ in range(12):
        keeper.pass_time(1.0)
        assert keeper.enter().answer is Answer.GO
        keeper.redis.delete(key_of("flight", CRM))


def test_who_steps_out_of_the_line_is_waited_for_by_nobody(keeper: Keeper) -> None:
    narrow(keeper, 1, usual_s=4.0)
    keeper.fill(1)
    for _ in range(5):
        keeper.gates.step_out(keeper.enter())
    assert keeper.state.waiting == 0
    assert keeper.enter().wait_s <= 4.8


def test_who_is_very_late_has_lost_its_place(keeper: Keeper) -> None:
    narrow(keeper, 1)
    keeper.fill(1)
    keeper.enter("gone:1")
    assert keeper.state.waiting == 1
    keeper.pass_time(32.0)
    keeper.enter("new:1")
    assert keeper.redis.zrange(key_of("line", CRM), 0, -1) == ["new:1"]
    assert keeper.redis.zrange(key_of("due", CRM), 0, -1) == ["new:1"]


def test_the_line_has_an_end(keeper: Keeper) -> None:
    narrow(keeper, 1, usual_s=20.0)
    keeper.fill(1)
    ahead = {f"job:{n}:1": 4e9 for n in range(10_000)}
    keeper.redis.zadd(key_of("line", CRM), ahead)
    keeper.redis.zadd(key_of("due", CRM), ahead)
    turned_away = keeper.enter("last:1")
    assert (turned_away.answer, turned_away.wait_s > 20) == (Answer.FULL, True)
    assert keeper.redis.zscore(key_of("line", CRM), "last:1") is None


# -- the retry budget -----------------------------------------------------------------------------


def test_retries_are_allowed_while_more_than_half_of_the_budget_is_left(keeper: Keeper) -> None:
    tenant = uuid4()
    assert [keeper.gates.spend(CRM, tenant) for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(25):
        keeper.call(tenant_id=tenant)
    # 4 were left, 2.5 came back, one is spent.
    assert keeper.gates.spend(CRM, tenant)
    assert not keeper.gates.spend(CRM, tenant)


def test_a_budget_is_of_one_tenant_and_one_dependency(keeper: Keeper) -> None:
    tenant = uuid4()
    while keeper.gates.spend(CRM, tenant):
        pass
    assert keeper.gates.spend(CRM, uuid4())
    assert keeper.gates.spend("mail", tenant)


@pytest.mark.parametrize("came", [Came.FAILED, Came.NOTHING])
def test_only_a_call_that_went_well_pays_back(keeper: Keeper, came: Came) -> None:
    tenant = uuid4()
    while keeper.gates.spend(CRM, tenant):
        pass
    for _ in range(4):
        keeper.call(came, tenant_id=tenant)
    assert keeper.redis.get(key_of("budget", f"{tenant}:{CRM}")) == "5"


@given(moves=st.lists(st.booleans(), max_size=120))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_budget_stays_between_nothing_and_ten(keeper: Keeper, moves: list[bool]) -> None:
    tenant = uuid4()
    expected = 10.0
    for is_failure in moves:
        expected = max(0.0, min(10.0, expected + (-1.0 if is_failure else 0.1)))
        if is_failure:
            assert (
                keeper.gates.spend(CRM, tenant) == (expected > 5.000001) or abs(expected - 5) < 1e-6
            )
        else:
            keeper.call(tenant_id=tenant)
    left = keeper.redis.get(key_of("budget", f"{tenant}:{CRM}"))
    assert float(left or 10) == pytest.approx(expected)

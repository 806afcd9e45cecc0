"""What people see of gates: every one of them, its numbers, its minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.gate_states import Minute, Standing, key_of
from broker.gates import Came
from broker.settings import BrokerSettings
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def test_where_nothing_was_called_there_are_no_gates(keeper: Keeper) -> None:
    assert keeper.gates.look() == []


def test_a_gate_is_seen_from_its_first_call_on(keeper: Keeper) -> None:
    keeper.enter()
    seen = keeper.state
    assert (seen.dependency, seen.standing, seen.reason) == (CRM, Standing.OPEN, "")
    assert (seen.limit, seen.in_flight, seen.waiting) == (16, 1, 0)
    assert (seen.first, seen.total, seen.total_timeout_s) == (None, None, None)
    assert seen.minutes == (Minute(0, calls=1, firsts=1),)


def test_gates_come_by_name(keeper: Keeper) -> None:
    for name in ("openai", "crm", "mail"):
        keeper.gates.enter(name, "job:1", lease_s=LEASE_S)
    assert [each.dependency for each in keeper.gates.look()] == ["crm", "mail", "openai"]


def test_what_happened_is_counted(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0)
    keeper.call(total_s=3.0)
    keeper.call(Came.FAILED)
    keeper.call(Came.TIMED_OUT)
    keeper.call(Came.NOTHING)
    keeper.call(Came.RATE_LIMITED)
    keeper.enter()
    keeper.enter()
    counted = {
        name: sum(getattr(each, name) for each in keeper.state.minutes)
        for name in Minute.__dataclass_fields__
        if name != "ago"
    }
    expected = {"calls": 25, "firsts": 25, "ok": 21, "slow": 1, "failed": 2, "rate_limited": 1}
    assert counted == expected | {"quota": 0, "turned_away": 2, "busy_s": 23.0}


def test_amplification_is_calls_for_each_that_was_wanted(keeper: Keeper) -> None:
    for is_first_try in (True, True, True, True, False):
        held = keeper.gates.enter(CRM, "job:1", lease_s=LEASE_S, is_first_try=is_first_try)
        keeper.gates.leave(held, Came.OK)
    assert keeper.state.amplification() == pytest.approx(1.25)


def call_again(keeper: Keeper, wished: int, repeated: int) -> None:
    for n in range(wished + repeated):
        held = keeper.gates.enter(CRM, "job:1", lease_s=LEASE_S, is_first_try=n < wished)
        keeper.gates.leave(held, Came.OK)


@pytest.mark.parametrize(
    ("wished", "repeated", "is_amplified"),
    [(20, 0, False), (20, 10, False), (20, 11, True), (4, 8, False)],
    ids=["none twice", "at the threshold", "above it", "too few to say"],
)
def test_far_more_calls_than_were_wanted_are_an_alarm(
    keeper: Keeper, wished: int, repeated: int, is_amplified: bool
) -> None:
    call_again(keeper, wished, repeated)
    assert keeper.state.is_amplified is is_amplified


def test_amplification_forgets_what_is_long_ago(keeper: Keeper) -> None:
    keeper.enter()
    (minute,) = keeper.redis.keys(key_of("minute", CRM) + ":*")
    number = int(minute.rpartition(":")[2])
    keeper.redis.rename(minute, f"{key_of('minute', CRM)}:{number - 30}")
    assert keeper.state.amplification() is None
    assert keeper.state.amplification(minutes=60) == 1
    assert keeper.state.minutes[0].ago in (30, 31)


def test_a_step_that_only_comes_again_counts_fully(keeper: Keeper) -> None:
    for _ in range(3):
        held = keeper.gates.enter(CRM, "job:1", lease_s=LEASE_S, is_first_try=False)
        keeper.gates.leave(held, Came.OK)
    assert keeper.state.amplification() == 3


def test_everything_kept_ends_by_itself(keeper: Keeper) -> None:
    keeper.learn(total_s=1.0, first_s=0.5)
    keeper.fill(16)
    keeper.enter()
    for _ in range(5):
        keeper.gates.leave(keeper.enter("job:1"), Came.FAILED)
    keys = keeper.redis.keys("*")
    assert len(keys) >= 8
    assert [key for key in keys if keeper.redis.ttl(key) <= 0] == []


def test_a_gate_that_nobody_used_for_a_day_is_gone(keeper: Keeper) -> None:
    keeper.enter()
    keeper.redis.zincrby("stepwell:gate:names", -86_500, CRM)
    assert keeper.gates.look() == []

"""Gates when Redis is away, comes back empty, swallows an answer, or has its clock moved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from pydantic import SecretStr

from broker.embedded import PrivateValkey
from broker.errors import BrokerDown
from broker.gate_states import Standing
from broker.gates import Answer, Came, Gates
from broker.settings import BrokerSettings
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping
from tests.running import at_once

NOWHERE = BrokerSettings(redis_url=SecretStr("redis://:hunter2@127.0.0.1:1/0"), redis_timeout_s=0.5)
PATIENCE_S = 0.1
SILENT_MS = 800


@pytest.fixture
def gates() -> Iterator[Gates]:
    opened = Gates(NOWHERE)
    yield opened
    opened.close()


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    impatient = broker_settings.model_copy(update={"redis_timeout_s": PATIENCE_S})
    with keeping(impatient) as opened:
        yield opened


@contextmanager
def silence(keeper: Keeper) -> Iterator[None]:
    """A Redis that takes what it is sent and answers nothing for a while; afterwards it answers."""
    keeper.redis.execute_command("CLIENT", "PAUSE", SILENT_MS, "ALL")
    yield
    keeper.redis.ping()


# -- away -----------------------------------------------------------------------------------------


def test_a_process_alone_lets_a_few_go_at_once_to_each(gates: Gates) -> None:
    held = [gates.enter(CRM, f"job:{n}", lease_s=LEASE_S) for n in range(5)]
    assert [each.answer for each in held] == [Answer.GO] * 4 + [Answer.FULL]
    assert held[-1].wait_s > 0
    assert gates.enter("mail", "job:1", lease_s=LEASE_S).is_open
    gates.leave(held[0], Came.OK, total_s=1.0)
    assert gates.enter(CRM, "job:6", lease_s=LEASE_S).is_open


def test_a_crowd_of_threads_alone_is_a_few_too(gates: Gates) -> None:
    asked = [lambda n=n: gates.enter(CRM, f"job:{n}", lease_s=LEASE_S) for n in range(20)]
    assert sum(each.is_open for each in at_once(asked)) == 4


def test_nobody_retries_on_hearsay_and_nothing_raises(gates: Gates) -> None:
    assert gates.spend(CRM, uuid4()) is False
    held = gates.enter(CRM, "job:1", lease_s=LEASE_S)
    gates.leave(held, Came.FAILED)
    gates.step_out(held)


def test_people_who_look_are_told_that_it_is_down_without_its_password(gates: Gates) -> None:
    with pytest.raises(BrokerDown, match="does not answer") as down:
        gates.look()
    assert "hunter2" not in str(down.value)


@pytest.mark.parametrize("came", [Came.RATE_LIMITED, Came.QUOTA])
def test_alone_it_keeps_to_the_time_that_the_other_side_names(gates: Gates, came: Came) -> None:
    gates.leave(gates.enter(CRM, "job:1", lease_s=LEASE_S), came, retry_after_s=30)
    turned_away = gates.enter(CRM, "job:2", lease_s=LEASE_S)
    assert turned_away.answer is Answer.CLOSED
    assert 29 < turned_away.wait_s <= 30


def test_a_closing_that_was_heard_of_holds_when_redis_goes_away() -> None:
    with tempfile.TemporaryDirectory(prefix="sw-") as home, PrivateValkey(Path(home)) as server:
        gates = Gates(BrokerSettings(redis_url=SecretStr(server.url), redis_timeout_s=0.5))
        held = gates.enter(CRM, "job:1", lease_s=LEASE_S)
        gates.leave(held, Came.RATE_LIMITED, retry_after_s=40)
        server.stop()
        assert gates.enter(CRM, "job:2", lease_s=LEASE_S).answer is Answer.CLOSED
        assert gates.enter("mail", "job:2", lease_s=LEASE_S).is_open
        server.start()
        # It has forgotten everything, so the gate begins anew.
        assert gates.enter(CRM, "job:3", lease_s=LEASE_S).answer is Answer.GO
        gates.close()


def test_a_closing_is_heard_of_by_being_turned_away_and_forgotten_by_being_let_in(
    keeper: Keeper,
) -> None:
    keeper.set(reason="breaker", closed_until=int(keeper.redis.time()[0]) + 40)
    assert keeper.enter("job:1").answer is Answer.CLOSED
    with silence(keeper):
        assert keeper.enter("job:1").answer is Answer.CLOSED
    keeper.set(reason="", closed_until=0)
    assert keeper.enter("job:1").answer is Answer.GO
    with silence(keeper):
        assert keeper.enter("job:2").answer is Answer.GO


def test_a_silent_redis_costs_its_timeout_and_no_more(keeper: Keeper) -> None:
    with silence(keeper):
        began = monotonic()
        assert keeper.enter("job:1").is_hearsay
        assert monotonic() - began < 5 * PATIENCE_S


# -- and back -------------------------------------------------------------------------------------


def test_a_pass_whose_answer_was_swallowed_is_given_back_later(keeper: Keeper) -> None:
    # Redis let it in, but all that the step hears is silence.
    keeper.enter("job:1")
    with silence(keeper):
        assert keeper.enter("job:1").is_hearsay
    keeper.enter("job:2")
    assert keeper.state.in_flight == 1


def test_a_pass_that_could_not_be_given_back_is_given_back_later(keeper: Keeper) -> None:
    held = keeper.fill(3)
    with silence(keeper):
        for each in held:
            keeper.gates.leave(each, Came.OK, total_s=1.0)
    keeper.enter("job:9")
    assert keeper.state.in_flight == 1


def test_a_redis_emptied_while_calls_are_out_begins_anew(keeper: Keeper) -> None:
    held = keeper.fill(10)
    keeper.set(limit=5)
    keeper.redis.flushall()
    for each in held:
        keeper.gates.leave(each, Came.OK, total_s=1.0)
    assert keeper.limit == 16
    assert len([each for each in range(20) if keeper.enter().is_open]) == 16


def test_scripts_that_redis_has_forgotten_are_sent_again(keeper: Keeper) -> None:
    keeper.call(Came.OK)
    keeper.redis.script_flush()
    keeper.call(Came.OK)
    assert keeper.gates.spend(CRM, uuid4())


def test_a_redis_that_is_full_is_as_good_as_none(keeper: Keeper) -> None:
    keeper.redis.config_set("maxmemory", 1)
    try:
        held = keeper.enter()
        assert held.is_hearsay
        keeper.gates.leave(held, Came.OK)
        assert keeper.gates.spend(CRM, uuid4()) is False
    finally:
        keeper.redis.config_set("maxmemory", "256mb")


# -- clocks ---------------------------------------------------------------------------------------


def test_a_clock_set_back_shuts_nothing_for_long(keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=5)
    keeper.pass_time(-86_400)
    assert keeper.enter().answer is Answer.PROBE
    keeper.pass_time(-86_400)
    probe = keeper.enter()
    assert probe.answer is Answer.PROBE
    keeper.gates.leave(probe, Came.OK)
    assert keeper.state.standing is Standing.OPEN


def test_a_clock_set_back_holds_no_pass_for_days(keeper: Keeper) -> None:
    keeper.set(limit=1)
    keeper.enter("dead:1")
    keeper.pass_time(-86_400)
    assert keeper.enter("new:1").is_open


def test_a_clock_set_back_does_not_keep_the_limit_high(keeper: Keeper) -> None:
    keeper.call(Came.TIMED_OUT)
    keeper.pass_time(-86_400)
    keeper.call(Came.TIMED_OUT)
    assert keeper.limit == pytest.approx(16 * 0.7 * 0.7)


def test_a_clock_that_jumps_ahead_opens_by_a_probe(keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=500)
    keeper.pass_time(86_400)
    assert keeper.state.standing is Standing.PROBING
    assert keeper.enter().answer is Answer.PROBE
    assert keeper.enter().answer is Answer.CLOSED

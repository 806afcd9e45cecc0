"""Alarm: a dependency that is called far more often than anybody wanted is told of, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from broker.gate_states import key_of
from broker.gates import Came
from broker.settings import BrokerSettings
from scheduler.alarm import Alarm
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def look(alarm: Alarm) -> list[str]:
    with capture_logs() as said:
        alarm.look()
    return [each["event"] for each in said]


def test_it_is_said_once_when_it_begins_and_once_when_it_is_over(keeper: Keeper) -> None:
    alarm = Alarm(keeper.gates)
    keeper.learn(times=20)
    assert look(alarm) == []
    for _ in range(20):
        held = keeper.gates.enter(CRM, "job:1", lease_s=LEASE_S, is_first_try=False)
        keeper.gates.leave(held, Came.OK)
    assert [look(alarm), look(alarm)] == [["dependency.amplified"], []]
    keeper.redis.delete(*keeper.redis.keys(key_of("minute", CRM) + ":*"))
    assert [look(alarm), look(alarm)] == [["dependency.no_longer_amplified"], []]

"""The gauge: what lies on each lane, and no room when nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from uuid import uuid4

import pytest
from pydantic import SecretStr

from broker.app import create_app
from broker.depth import Gauge
from broker.envelope import Envelope
from broker.errors import BrokerDown
from broker.lanes import ALL_LANES, lane_of
from broker.publish import Bell
from broker.settings import BrokerSettings
from store.states import JobClass, Work
from tests.running import eventually

LANE = lane_of(JobClass.BATCH, Work.COMPUTES)


def ring(settings: BrokerSettings, count: int) -> None:
    bell = Bell(create_app(settings))
    ids = uuid4(), uuid4()
    bell.ring([Envelope(*ids, n, "tool.test", JobClass.BATCH, Work.COMPUTES) for n in range(count)])
    bell.close()


@pytest.fixture
def gauge(broker_settings: BrokerSettings) -> Iterator[Gauge]:
    opened = Gauge(broker_settings.model_copy(update={"lane_depth_max": 3}))
    yield opened
    opened.close()


def test_it_counts_every_lane(gauge: Gauge, broker_settings: BrokerSettings) -> None:
    ring(broker_settings, 2)
    assert gauge.measure() == dict.fromkeys(ALL_LANES, 0) | {LANE: 2}
    assert gauge.measure([LANE]) == {LANE: 2}


def test_a_lane_has_room_until_it_is_full(gauge: Gauge, broker_settings: BrokerSettings) -> None:
    assert gauge.has_room(LANE)
    ring(broker_settings, 3)
    # A measurement is good for a moment, then it is taken anew.
    eventually(lambda: not gauge.has_room(LANE))
    assert gauge.has_room(lane_of(JobClass.DEFAULT, Work.WAITS))


def test_a_silent_redis_is_down_without_its_password_and_has_no_room() -> None:
    gauge = Gauge(
        BrokerSettings(redis_url=SecretStr("redis://:hunter2@127.0.0.1:1/0"), redis_timeout_s=0.5)
    )
    began = monotonic()
    with pytest.raises(BrokerDown, match="does not answer") as down:
        gauge.measure()
    assert "hunter2" not in str(down.value)
    assert gauge.has_room(LANE) is False
    with pytest.raises(BrokerDown):
        gauge.server_version()
    assert monotonic() - began < 3.0
    gauge.close()


def test_it_knows_who_answers(gauge: Gauge) -> None:
    assert gauge.server_version().startswith(("Valkey ", "Redis "))

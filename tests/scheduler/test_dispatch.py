"""Dispatch: what is due is rung for, as far as its lane has room."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from uuid import UUID

import pytest
from pydantic import SecretStr
from redis import Redis

from broker.app import create_app
from broker.depth import Gauge
from broker.lanes import lane_of
from broker.publish import Bell
from broker.settings import BrokerSettings
from scheduler.dispatch import dispatch
from store.doors import Doors
from store.states import JobClass, Work
from tests.running import at_once, eventually
from tests.stepping import Stepper

LANE = lane_of(JobClass.DEFAULT, Work.WAITS)


class Clockwork:
    """A dispatcher with a Redis to look at."""

    def __init__(self, doors: Doors, settings: BrokerSettings) -> None:
        self.doors = doors
        self.redis_url = settings.redis_url.get_secret_value()
        self.bell = Bell(create_app(settings))
        self.gauge = Gauge(settings)

    def dispatch(self, *, depth_max: int = 400, again_s: float = 60.0) -> int:
        return dispatch(self.doors, self.bell, self.gauge, depth_max=depth_max, again_s=again_s)

    def rung(self, lane: str = LANE) -> list[tuple[UUID, int]]:
        """(job, step) of the messages on the lane, in the order they will be taken."""
        with Redis.from_url(self.redis_url) as client:
            raw = reversed(client.lrange(lane, 0, -1))
        args = [json.loads(b64decode(json.loads(each)["body"]))[0] for each in raw]
        return [(UUID(job), seq) for _, job, seq in args]

    def empty(self) -> None:
        with Redis.from_url(self.redis_url) as client:
            client.flushall()

    def close(self) -> None:
        self.bell.close()
        self.gauge.close()


@pytest.fixture
def clockwork(doors: Doors, broker_settings: BrokerSettings) -> Iterator[Clockwork]:
    made = Clockwork(doors, broker_settings)
    yield made
    made.close()


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def test_a_step_that_nobody_rang_is_rung_once(clockwork: Clockwork, stepper: Stepper) -> None:
    job_id = stepper.put_down()
    assert clockwork.dispatch() == 1
    assert clockwork.rung() == [(job_id, 1)]
    assert clockwork.dispatch() == 0


def test_whoever_was_put_down_first_is_rung_first(clockwork: Clockwork, stepper: Stepper) -> None:
    job_ids = [stepper.put_down() for _ in range(6)]
    clockwork.dispatch(depth_max=3)
    assert {job_id for job_id, _ in clockwork.rung()} == set(job_ids[:3])


def test_a_full_lane_is_left_alone_and_the_rest_waits(
    clockwork: Clockwork, stepper: Stepper
) -> None:
    for _ in range(5):
        stepper.put_down()
    assert clockwork.dispatch(depth_max=2) == 2
    assert clockwork.dispatch(depth_max=2) == 0
    assert clockwork.dispatch(depth_max=1) == 0, "fuller than it may be, once the limit is lowered"
    clockwork.empty()
    assert clockwork.dispatch(depth_max=2) == 2


def test_a_full_lane_does_not_hold_up_another(clockwork: Clockwork, stepper: Stepper) -> None:
    for _ in range(3):
        stepper.put_down()
    batch = stepper.put_down(job_class=JobClass.BATCH)
    assert clockwork.dispatch(depth_max=1) == 2
    assert clockwork.rung(lane_of(JobClass.BATCH, Work.WAITS)) == [(batch, 1)]


def test_what_redis_has_forgotten_is_rung_again(clockwork: Clockwork, stepper: Stepper) -> None:
    job_id = stepper.put_down()
    clockwork.dispatch()
    clockwork.empty()
    assert clockwork.dispatch(again_s=60) == 0
    eventually(lambda: clockwork.dispatch(again_s=0.1) == 1)
    assert clockwork.rung() == [(job_id, 1)]


def test_a_claimed_step_is_not_rung_again(clockwork: Clockwork, stepper: Stepper) -> None:
    stepper.take(stepper.put_down(), 1, stepper.start_worker())
    assert clockwork.dispatch(again_s=0) == 0


def test_a_retry_is_rung_when_its_time_has_come(clockwork: Clockwork, stepper: Stepper) -> None:
    job_id = stepper.put_down()
    worker = stepper.start_worker()
    stepper.release(stepper.take(job_id, 1, worker), delay_s=0.3)
    assert clockwork.dispatch() == 0
    eventually(lambda: clockwork.dispatch() == 1)


def test_schedulers_side_by_side_ring_for_each_step_once(
    clockwork: Clockwork, stepper: Stepper
) -> None:
    job_ids = {stepper.put_down() for _ in range(30)}
    assert sum(at_once([clockwork.dispatch] * 4)) == 30
    rung = [job_id for job_id, _ in clockwork.rung()]
    assert len(rung) == 30
    assert set(rung) == job_ids


def test_without_redis_nothing_is_marked_as_rung(doors: Doors, stepper: Stepper) -> None:
    job_id = stepper.put_down()
    nowhere = BrokerSettings(redis_url=SecretStr("redis://127.0.0.1:1/0"), redis_timeout_s=0.5)
    clockwork = Clockwork(doors, nowhere)
    assert clockwork.dispatch() == 0
    assert stepper.step(job_id, 1).rung_at is None
    clockwork.close()

"""Ringing: onto the right lane, ids only, and quickly or not at all when Redis is away."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from redis import Redis

from broker.app import create_app
from broker.embedded import PrivateValkey
from broker.envelope import Envelope
from broker.lanes import ALL_LANES
from broker.publish import BATCH_MAX, Bell
from broker.settings import BrokerSettings
from store.states import JobClass, Work
from tests.running import at_once


def envelope(seq: int = 1, **more: Any) -> Envelope:
    given = {
        "tenant_id": uuid4(),
        "job_id": uuid4(),
        "name": "tool.test",
        "job_class": JobClass.DEFAULT,
        "work": Work.WAITS,
    } | more
    return Envelope(seq=seq, **given)


@pytest.fixture
def bell(broker_settings: BrokerSettings) -> Iterator[Bell]:
    opened = Bell(create_app(broker_settings))
    yield opened
    opened.close()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[PrivateValkey]:
    """A Redis to break."""
    with PrivateValkey(tmp_path) as server:
        yield server


def waiting(redis: Redis, lane: str) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in redis.lrange(lane, 0, -1)]


def body_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def test_a_ring_lies_on_the_lane_of_its_class_and_work(bell: Bell, redis: Redis) -> None:
    for job_class, work in ALL_LANES.values():
        assert bell.ring([envelope(job_class=job_class, work=work)])
    assert {lane: redis.llen(lane) for lane in ALL_LANES} == dict.fromkeys(ALL_LANES, 1)


def test_a_message_holds_the_ids_and_a_name_and_nothing_else(bell: Bell, redis: Redis) -> None:
    rung = envelope(7, name="tool.send_email")
    bell.ring([rung])
    (message,) = waiting(redis, "stepwell.default.waits")
    args, kwargs, _ = body_of(message)
    assert args == [str(rung.tenant_id), str(rung.job_id), 7]
    assert kwargs == {}
    headers = message["headers"]
    assert headers["task"] == "step"
    assert headers["shadow"] == "tool.send_email"
    assert headers["argsrepr"] == f"job={rung.job_id} step=7"
    UUID(headers["id"])


def test_a_large_batch_arrives_whole_and_in_order(bell: Bell, redis: Redis) -> None:
    count = BATCH_MAX * 2 + 7
    assert bell.ring([envelope(seq) for seq in range(1, count + 1)])
    messages = waiting(redis, "stepwell.default.waits")
    # Kombu pushes on the left and takes from the right.
    assert [body_of(message)[0][2] for message in reversed(messages)] == list(range(1, count + 1))


def test_ringing_for_nothing_is_heard(bell: Bell) -> None:
    assert bell.ring([])


def test_a_bell_may_be_rung_from_many_threads(bell: Bell, redis: Redis) -> None:
    assert at_once([lambda: bell.ring([envelope(), envelope()])] * 30) == [True] * 30
    assert redis.llen("stepwell.default.waits") == 60


@pytest.mark.parametrize("count", [1, 5])
def test_a_stopped_redis_costs_a_moment_and_no_exception(
    own_redis: PrivateValkey, count: int
) -> None:
    bell = Bell(create_app(BrokerSettings(redis_url=SecretStr(own_redis.url))))
    assert bell.ring([envelope()]), "it should have worked before"
    own_redis.stop()
    began = monotonic()
    assert bell.ring([envelope(seq) for seq in range(1, count + 1)]) is False
    assert monotonic() - began < 3.0
    own_redis.start()
    assert bell.ring([envelope()]), "it should work again without anybody's help"
    bell.close()


def test_a_redis_that_hangs_costs_a_bounded_wait(own_redis: PrivateValkey) -> None:
    settings = BrokerSettings(redis_url=SecretStr(own_redis.url), redis_timeout_s=0.5)
    bell = Bell(create_app(settings))
    assert bell.ring([envelope()])
    assert own_redis.pid is not None
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        began = monotonic()
        assert bell.ring([envelope()]) is False
        assert monotonic() - began < 10.0
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    bell.close()


def test_a_redis_without_memory_is_not_believed_to_have_heard(own_redis: PrivateValkey) -> None:
    bell = Bell(create_app(BrokerSettings(redis_url=SecretStr(own_redis.url))))
    with Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
    assert bell.ring([envelope()]) is False
    assert bell.ring([envelope(), envelope()]) is False
    bell.close()

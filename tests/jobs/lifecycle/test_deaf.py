"""The ear: only a worker that should have heard something, again and again, is deaf."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from pydantic import SecretStr

from broker.depth import Gauge
from broker.settings import BrokerSettings
from jobs.lifecycle import restart
from jobs.lifecycle.deaf import Ear
from tests.housing import Household
from tests.running import eventually

DEAF_AFTER_S = 1.0
SLOTS = 2

Listen = Callable[..., tuple[Ear, Event]]


@pytest.fixture
def gauge(broker_settings: BrokerSettings) -> Iterator[Gauge]:
    made = Gauge(broker_settings)
    yield made
    made.close()


@pytest.fixture
def listen(household: Household, gauge: Gauge, monkeypatch: pytest.MonkeyPatch) -> Listen:
    monkeypatch.delenv(restart.MEMORY, raising=False)

    def begin(gauge: Gauge = gauge) -> tuple[Ear, Event]:
        is_deaf = Event()
        ear = Ear(household.house, gauge, SLOTS, is_deaf.set, deaf_after_s=DEAF_AFTER_S)
        ear.start()
        return ear, is_deaf

    return begin


def test_rings_that_nobody_hears_make_a_worker_deaf(household: Household, listen: Listen) -> None:
    household.viewer.submit("walk", {})
    _, is_deaf = listen()
    assert not is_deaf.wait(DEAF_AFTER_S / 2)
    assert is_deaf.wait(10)


def test_silence_is_not_deafness(listen: Listen) -> None:
    _, is_deaf = listen()
    assert not is_deaf.wait(2 * DEAF_AFTER_S)


def test_rings_of_other_work_are_not_for_us(household: Household, listen: Listen) -> None:
    household.redis.lpush("stepwell.default.computes", "x")
    _, is_deaf = listen()
    assert not is_deaf.wait(2 * DEAF_AFTER_S)


def test_one_that_hears_now_and_then_is_not_deaf(household: Household, listen: Listen) -> None:
    household.viewer.submit("walk", {})
    ear, is_deaf = listen()
    for _ in range(10):
        ear.hear()
        assert not is_deaf.wait(DEAF_AFTER_S / 5)


def test_one_that_has_its_hands_full_is_not_deaf(household: Household, listen: Listen) -> None:
    household.viewer.submit("walk", {})
    with household.house.watch.attempting(), household.house.watch.attempting():
        _, is_deaf = listen()
        assert not is_deaf.wait(2 * DEAF_AFTER_S)
    assert is_deaf.wait(10)


def test_one_that_would_not_claim_is_not_deaf(household: Household, listen: Listen) -> None:
    household.viewer.submit("walk", {})
    household.house.may_claim.clear()
    _, is_deaf = listen()
    assert not is_deaf.wait(2 * DEAF_AFTER_S)


def test_without_redis_nobody_is_deaf(listen: Listen) -> None:
    nowhere = BrokerSettings(redis_url=SecretStr("redis://127.0.0.1:1/0"), redis_timeout_s=0.2)
    _, is_deaf = listen(Gauge(nowhere))
    assert not is_deaf.wait(2 * DEAF_AFTER_S)


def test_a_worker_that_restarted_too_often_lately_stays_as_it_is(
    household: Household,
    listen: Listen,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("jobs.lifecycle.deaf.may_restart", lambda: False)
    household.viewer.submit("walk", {})
    _, is_deaf = listen()
    eventually(lambda: "restarted too often" in capsys.readouterr().out)
    assert not is_deaf.is_set()


# --- beginning again ------------------------------------------------------------------------------

PROGRAM = """
import os, sys
from jobs.lifecycle.restart import may_restart, restart
print("run", os.getpid(), sys.argv[1:], flush=True)
restart() if may_restart() else sys.exit(7)
"""


def test_a_program_begins_again_in_its_process_with_its_words_and_only_so_often() -> None:
    words = [sys.executable, "-c", PROGRAM, "--slots", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate(timeout=60)
    runs = re.findall(r"^run .*$", said, re.MULTILINE)
    assert runs == [f"run {process.pid} ['--slots', '3']"] * (1 + restart.RESTARTS_MAX)
    assert process.returncode == 7


def test_restarts_of_long_ago_and_of_other_processes_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os
    from time import monotonic

    now, long_ago = monotonic(), monotonic() - restart.RESTARTS_WITHIN_S - 1
    many = ",".join([str(now)] * restart.RESTARTS_MAX)
    monkeypatch.setenv(restart.MEMORY, f"{os.getpid()}:{many}")
    assert not restart.may_restart()
    monkeypatch.setenv(restart.MEMORY, f"{os.getpid()}:{many.replace(str(now), str(long_ago))}")
    assert restart.may_restart()
    monkeypatch.setenv(restart.MEMORY, f"{os.getpid() + 1}:{many}")
    assert restart.may_restart()

"""Scripts: many callers, few round trips, and each its own answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from broker.scripts import TOGETHER_MAX, Scripts
from tests.running import at_once

ECHO = "if ARGV[1] == 'fail' then return redis.error_reply('no') end return {KEYS[1], ARGV[1]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "echo.lua").write_text(ECHO)
    return tmp_path


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def echo(scripts: Scripts, word: Any) -> Any:
    try:
        return scripts.run("echo", [f"key:{word}"], [word])
    except RedisError as error:
        return str(error)


def test_everybody_in_a_crowd_has_its_own_answer(redis: Redis, folder: Path) -> None:
    scripts = Scripts(redis, folder, ["echo"])
    words = [str(n) for n in range(3 * TOGETHER_MAX)]
    before = redis.info("stats")["total_connections_received"]
    answers = at_once([lambda word=word: echo(scripts, word) for word in words])
    assert sorted(answers) == sorted([f"key:{word}", word] for word in words)
    assert redis.info("stats")["total_connections_received"] - before <= 1


def test_an_error_of_one_is_nobody_elses(redis: Redis, folder: Path) -> None:
    scripts = Scripts(redis, folder, ["echo"])
    words = ["fail" if n % 3 == 0 else str(n) for n in range(60)]
    answers = at_once([lambda word=word: echo(scripts, word) for word in words])
    assert answers.count("echo: no") == 20
    assert sum(isinstance(each, list) for each in answers) == 40


def test_a_redis_that_forgot_the_scripts_is_told_them_again(redis: Redis, folder: Path) -> None:
    scripts = Scripts(redis, folder, ["echo"])
    for word in ("first", "second"):
        redis.script_flush()
        assert echo(scripts, word) == [f"key:{word}", word]


def test_whoever_asks_for_others_and_is_ended_leaves_nobody_waiting(
    redis: Redis, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Scripts(redis, folder, ["echo"])
    is_asking, may_end = Event(), Event()

    def end(_: Any) -> Any:
        is_asking.set()
        may_end.wait(30)
        raise SystemExit

    def ask_first() -> Any:
        with pytest.raises(SystemExit):
            scripts.run("echo", ["key"], ["first"])

    def ask_second() -> Any:
        is_asking.wait(30)
        monkeypatch.undo()
        may_end.set()
        return echo(scripts, "second")

    monkeypatch.setattr(scripts, "_ask", end)
    assert at_once([ask_first, ask_second])[1] == ["key:second", "second"]


def test_a_redis_that_hangs_is_an_error_for_all_within_two_timeouts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Redis(
            port=server.getsockname()[1], socket_timeout=0.2, retry=Retry(NoBackoff(), 0)
        )
        scripts = Scripts(client, folder, ["echo"])
        answers = at_once([lambda: echo(scripts, "x") for _ in range(20)])
    assert all("imeout" in each for each in answers), answers


def test_the_scripts_of_the_gates_are_all_there() -> None:
    folder = files("broker") / "gate_scripts"
    assert {each.name for each in folder.iterdir() if each.name.endswith(".lua")} == {
        "enter.lua",
        "leave.lua",
        "spend.lua",
    }

"""The loop: a call of a step that is stopped is over when its thread comes back, not before."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Any

import pytest

from jobs.lifecycle import stopping
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.stopping import Call, Calling, Stopped, stoppably
from tests.running import eventually


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def begin(pool: ThreadPoolExecutor, loop: Loop, work: Any) -> tuple[Call, Future[Any]]:
    """Make the call of a step in a thread, which waits for it on the loop."""
    made: list[Call] = []
    is_made = Event()

    def attempt() -> Any:
        made.append(Call())
        is_made.set()
        with Calling(made[0]):
            return stoppably(loop.run, work, 30.0)

    future = pool.submit(attempt)
    assert is_made.wait(5)
    return made[0], future


def test_without_any_step_a_coroutine_runs_as_ever(loop: Loop) -> None:
    async def add() -> int:
        return 1 + 1

    assert loop.run(add(), 5.0) == 2


def test_a_stopped_call_is_cancelled_and_its_thread_waits_for_the_end_of_it(
    loop: Loop, pool: ThreadPoolExecutor
) -> None:
    said: list[str] = []
    is_waiting = Event()

    async def wait() -> None:
        is_waiting.set()
        try:
            await asyncio.sleep(60)
        finally:
            said.append("leaving")
            await asyncio.sleep(0.2)
            said.append("left")

    call, future = begin(pool, loop, wait())
    assert is_waiting.wait(5)
    call.stop("for a reason")
    with pytest.raises(Stopped, match="for a reason"):
        future.result(5)
    assert said == ["leaving", "left"]


def test_what_a_coroutine_returns_after_all_is_nobodys(
    loop: Loop, pool: ThreadPoolExecutor
) -> None:
    is_waiting = Event()

    async def insist() -> str:
        is_waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "a result"
        return "never"

    call, future = begin(pool, loop, insist())
    assert is_waiting.wait(5)
    call.stop("for a reason")
    with pytest.raises(Stopped):
        future.result(5)


def test_a_call_that_is_stopped_before_the_loop_comes_to_it_never_begins(
    loop: Loop, pool: ThreadPoolExecutor
) -> None:
    begun: list[int] = []
    is_busy, may_go_on = Event(), Event()

    async def hold_up() -> None:
        is_busy.set()
        may_go_on.wait(5)

    async def work() -> None:
        begun.append(1)

    with ThreadPoolExecutor(1) as other:
        other.submit(loop.run, hold_up(), 10.0)
        assert is_busy.wait(5)
        call, future = begin(pool, loop, work())
        for _ in range(20):
            call.stop("for a reason")
            Event().wait(0.01)
        may_go_on.set()
        with pytest.raises(Stopped):
            future.result(5)
    assert begun == []


def test_a_call_that_must_not_begin_is_refused_without_complaint(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It hears of it only where it looks.
    monkeypatch.setattr(stopping, "THROWS_MAX", 0)
    call, begun = Call(), []

    async def work() -> None:
        begun.append(1)

    def attempt() -> None:
        call.stop("too late")
        loop.run(work(), 5.0)

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        with Calling(call), pytest.raises(Stopped):
            stoppably(attempt)
        gc.collect()
    assert begun == []
    assert [str(each.message) for each in complaints if each.category is RuntimeWarning] == []


def test_what_is_looked_up_before_a_call_is_not_cut_short(loop: Loop) -> None:
    async def look_up() -> str:
        return "found"

    call = Call()
    call.stop("for a reason")
    with Calling(call):
        assert loop.run(look_up(), 5.0) == "found"


def test_a_loop_that_is_held_up_knows_how_late_it_was(loop: Loop) -> None:
    async def hold_up() -> None:
        # On purpose on the loop: this is what a busy process does to it.
        ended = monotonic() + 0.5
        while monotonic() < ended:
            pass

    async def wait() -> None:
        await asyncio.sleep(0.5)

    before = loop.late_s()
    loop.run(wait(), 5.0)
    while_idle = loop.late_s() - before
    loop.run(hold_up(), 5.0)
    while_busy = loop.late_s() - before - while_idle
    assert while_busy > 0.3
    assert while_idle < while_busy / 2


def test_a_loop_that_is_held_up_now_is_late_already(loop: Loop) -> None:
    is_held, may_go = Event(), Event()

    async def hold_up() -> None:
        is_held.set()
        may_go.wait(10)

    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(loop.run, hold_up(), 20.0)
        assert is_held.wait(5)
        before = loop.late_s()
        eventually(lambda: loop.late_s() - before > 0.3, timeout_s=5.0)
        may_go.set()
        held.result()

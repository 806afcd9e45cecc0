"""A call is ended from outside, and nothing of that lands anywhere else."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread, get_ident
from typing import Any

import pytest

from jobs.lifecycle import stopping
from jobs.lifecycle.stopping import Call, Calling, Stopped, on_stop, stoppably
from tests.running import eventually

# A function of a package that must not be left halfway, such as the log's while it is locked.
FRAGILE: dict[str, Any] = {"__name__": "logging.handlers"}
exec("def hold(leave):\n    while not leave.is_set():\n        pass\n", FRAGILE)


class Slot:
    """A thread of a pool with a call in it, as a worker's slot is."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.call: Call | None = None
        self.log: list[str] = []

    def begin(self, work: Callable[[], Any]) -> Future[Any]:
        """Make the call in the pool; returns once it runs."""
        begun = Event()

        def noted() -> Any:
            begun.set()
            return work()

        def attempt() -> Any:
            self.call = Call()
            with Calling(self.call):
                try:
                    return stoppably(noted)
                except Stopped as stopped:
                    return f"stopped: {stopped}"

        future = self._pool.submit(attempt)
        assert begun.wait(5)
        return future

    def stop(self, why: str = "for a reason") -> bool:
        assert self.call is not None
        return self.call.stop(why)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def slot(pool: ThreadPoolExecutor) -> Slot:
    return Slot(pool)


def count_for_ever() -> None:
    number = 0
    while True:
        number += 1


def wait_in_small_pieces() -> None:
    while True:
        Event().wait(0.01)


@pytest.mark.parametrize("work", [count_for_ever, wait_in_small_pieces])
def test_a_call_in_python_code_ends_at_once_and_its_thread_goes_on(
    slot: Slot, pool: ThreadPoolExecutor, work: Callable[[], None]
) -> None:
    thread_id = pool.submit(get_ident).result(5)
    made = slot.begin(work)
    asked_at = time.monotonic()
    slot.stop()
    assert made.result(5) == "stopped: for a reason"
    assert time.monotonic() - asked_at < 0.5
    assert pool.submit(get_ident).result(5) == thread_id, "the pool has lost a thread"


def test_a_call_that_ended_by_itself_keeps_its_result(slot: Slot) -> None:
    assert slot.begin(lambda: 42).result(5) == 42
    assert slot.stop()


def test_a_call_that_was_stopped_before_it_began_is_never_made() -> None:
    call, made = Call(), []
    assert not call.stop("too late")
    with Calling(call), pytest.raises(Stopped, match="too late"):
        stoppably(made.append, 1)
    assert made == []


def test_outside_of_any_step_nothing_is_different() -> None:
    with on_stop(lambda: None):
        assert stoppably(sum, [1, 2]) == 3


def test_a_call_inside_c_code_ends_when_that_returns(slot: Slot) -> None:
    made = slot.begin(lambda: time.sleep(0.5) or "slept")
    slot.stop()
    assert made.result(5) == "stopped: for a reason"


def test_what_cleans_up_is_left_to_clean_up(slot: Slot) -> None:
    def work() -> None:
        try:
            wait_in_small_pieces()
        finally:
            slot.log.append("clean")

    made = slot.begin(work)
    slot.stop()
    made.result(5)
    assert slot.log == ["clean"]


def test_a_tools_own_handling_of_errors_does_not_catch_it(slot: Slot) -> None:
    def work() -> None:
        try:
            wait_in_small_pieces()
        except Exception:  # noqa: BLE001 - as tools do
            slot.log.append("caught")

    made = slot.begin(work)
    slot.stop()
    assert made.result(5) == "stopped: for a reason"
    assert slot.log == []


def test_code_that_swallows_everything_is_told_again_and_its_result_is_nobodys(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "THROW_AGAIN_S", 0.05)

    def work() -> str:
        for n in range(2):
            try:
                wait_in_small_pieces()
            except BaseException:  # noqa: BLE001 - as bad tools do
                slot.log.append(f"swallowed {n}")
        return "a result"

    made = slot.begin(work)
    eventually(slot.stop, 5)
    assert slot.log == ["swallowed 0", "swallowed 1"]
    assert made.result(5) == "stopped: for a reason"


def test_it_is_thrown_a_few_times_only(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "THROW_AGAIN_S", 0.0)
    leave = Event()

    def work() -> None:
        while not leave.is_set():
            try:
                wait_in_small_pieces_until(leave)
            except Stopped:
                slot.log.append("thrown")

    made = slot.begin(work)
    for _ in range(50):
        slot.stop()
        Event().wait(0.005)
    leave.set()
    made.result(5)
    assert len(slot.log) == stopping.THROWS_MAX


def wait_in_small_pieces_until(leave: Event) -> None:
    while not leave.wait(0.001):
        pass


def test_code_that_must_not_be_left_halfway_is_left_in_peace(slot: Slot) -> None:
    leave = Event()

    def work() -> None:
        FRAGILE["hold"](leave)
        slot.log.append("out of it")
        wait_in_small_pieces()

    made = slot.begin(work)
    for _ in range(20):
        slot.stop()
        Event().wait(0.005)
    assert not made.done()
    leave.set()
    eventually(slot.stop, 5)
    assert slot.log == ["out of it"]
    assert made.result(5) == "stopped: for a reason"


# --- remedies -------------------------------------------------------------------------------------


def test_what_waits_under_a_remedy_is_ended_by_it_once_and_by_nothing_else(slot: Slot) -> None:
    called: list[int] = []
    is_cured = Event()

    def remedy() -> None:
        called.append(1)
        is_cured.set()

    def work() -> None:
        with on_stop(remedy):
            is_cured.wait(5)
            try:
                for _ in range(20):
                    Event().wait(0.005)
            except Stopped:
                slot.log.append("thrown at")
            slot.log.append("back")
        slot.log.append("past it")

    made = slot.begin(work)
    eventually(slot.stop, 5)
    assert made.result(5) == "stopped: for a reason"
    assert called == [1]
    assert slot.log == ["back"]


def test_after_a_remedy_that_was_not_needed_a_call_is_stopped_as_before(slot: Slot) -> None:
    is_past = Event()

    def work() -> None:
        with on_stop(lambda: slot.log.append("remedy")):
            pass
        is_past.set()
        wait_in_small_pieces()

    made = slot.begin(work)
    assert is_past.wait(5)
    slot.stop()
    assert made.result(5) == "stopped: for a reason"
    assert slot.log == []


@pytest.fixture
def thrown_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked to end hears of it only where it looks."""
    monkeypatch.setattr(stopping, "THROWS_MAX", 0)


@pytest.mark.usefixtures("thrown_never")
def test_nothing_is_begun_under_a_remedy_once_the_call_is_to_end() -> None:
    call, begun = Call(), []

    def work() -> None:
        call.stop("too late")
        with on_stop(lambda: None):
            begun.append(1)

    with Calling(call), pytest.raises(Stopped, match="too late"):
        stoppably(work)
    assert begun == []


def test_before_and_after_its_call_a_thread_is_left_alone() -> None:
    call, remedied = Call(), []
    with Calling(call):
        call.stop("too late")
        with on_stop(lambda: remedied.append("before")):
            pass
        with pytest.raises(Stopped):
            stoppably(lambda: None)
        with on_stop(lambda: remedied.append("after")):
            call.stop("again")
    assert remedied == []


def test_a_remedy_that_raises_does_not_harm_whoever_stops(slot: Slot) -> None:
    leave = Event()

    def remedy() -> None:
        leave.set()
        raise ProcessLookupError

    def work() -> None:
        with on_stop(remedy):
            leave.wait(5)

    made = slot.begin(work)
    assert not slot.stop()
    assert made.result(5) == "stopped: for a reason"


# --- nothing lands anywhere else ------------------------------------------------------------------


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns a thousand times as often as usual, so that they meet in odd places."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 1_000)
    yield
    sys.setswitchinterval(usual_s)


@pytest.mark.usefixtures("restless")
def test_however_it_is_stopped_nothing_ever_lands_outside_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many short calls of one thread, which two others never cease to stop."""
    monkeypatch.setattr(stopping, "THROWS_MAX", 10**9)
    monkeypatch.setattr(stopping, "THROW_AGAIN_S", 0.0)
    current: list[Call] = [Call()]
    ends = {"stopped": 0, "done": 0}
    escaped: list[str] = []
    is_over = Event()

    def attempt_many() -> None:
        try:
            give_up_at = time.monotonic() + 30
            for n in itertools.count():
                if min(ends.values()) >= 500 or time.monotonic() > give_up_at:
                    break
                current[0] = call = Call()
                with Calling(call):
                    try:
                        stoppably(spin, n % 200)
                        ends["done"] += 1
                    except Stopped:
                        ends["stopped"] += 1
                spin(20)
        except BaseException as error:  # noqa: BLE001 - the one thing that must not happen
            escaped.append(repr(error))
        finally:
            is_over.set()

    def stop_always() -> None:
        while not is_over.is_set():
            current[0].stop("again and again")
            if random.random() < 0.3:
                Event().wait(random.random() * 0.0005)

    threads = [Thread(target=attempt_many), *[Thread(target=stop_always) for _ in range(2)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert escaped == []
    assert min(ends.values()) >= 100, f"the test has to stop some, and some not: {ends}"


def spin(times: int) -> None:
    for number in range(times):
        number * number

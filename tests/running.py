"""What tests of running parts share: waiting for a condition, many threads at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout_s: float = 10.0) -> T:
    """The first truthy value of the condition; fails when there is none in time."""
    deadline = monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; last seen: {found!r}")
        Event().wait(0.02)


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls in threads that start together; their results in order."""
    start = Barrier(len(calls))

    def run(one: Callable[[], T]) -> T:
        start.wait(timeout=10)
        return one()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))

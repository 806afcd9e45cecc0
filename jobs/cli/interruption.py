"""Being asked to stop by a signal: politely while starting, by an exception while working.

A signal handler may raise KeyboardInterrupt, but the exception lands wherever the main thread
happens to be, and in a weakref callback or a finalizer Python prints and forgets it. So it is
raised again a moment later, until somebody says that it was heard.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

# Long enough for what unwinds after the first one to be through.
AGAIN_AFTER_S = 1.0
# What a shell makes of a process that SIGINT has ended.
INTERRUPTED = 130
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What `signal.signal` gives back and takes: a function, or the number of a usual reaction.
Handler = Callable[[int, FrameType | None], Any] | int | None


class Interruption:
    """Takes the stop signals over inside its block; belongs to the main thread.

    `ask` is called for the first signal outside of `work`, `force` for every one after it.
    """

    def __init__(self, *, ask: Callable[[], None], force: Callable[[], None]) -> None:
        self._ask = ask
        self._force = force
        self._is_asked = False
        self._is_working = False
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hear) for number in STOP_SIGNALS}
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._knock)
        return self

    def __exit__(self, *_: object) -> None:
        self._be_heard()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Inside, a signal raises KeyboardInterrupt; leaving means that it was heard."""
        self._is_working = True
        try:
            if self._is_asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._be_heard()

    def _be_heard(self) -> None:
        self._is_working = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked:
            self._force()
            return
        self._is_asked = True
        if self._is_working:
            self._knock()
        else:
            self._ask()

    def _knock(self, *_: object) -> None:
        if self._is_working:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
            raise KeyboardInterrupt


@contextmanager
def heard() -> Iterator[None]:
    """Inside, a stop signal becomes a KeyboardInterrupt that is not lost; a second one ends all.

    Whoever has set a handler of their own keeps it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    with Interruption(ask=_ignore, force=_leave_at_once) as interruption, interruption.work():
        yield


def _ignore() -> None:
    """Outside of the work there is nothing to interrupt any more."""


def _leave_at_once() -> None:
    os._exit(INTERRUPTED)

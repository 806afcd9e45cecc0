"""The one asyncio loop of a process, behind a small door for threads.

Model clients keep connections that belong to a loop, so a process has one for as long as it lives.
Hundreds of slots wait on it at once; each waits in its own thread, the loop in none of them.

The loop also keeps an eye on itself. A process with more to do than it can, be it here or in
threads that hold the interpreter, comes late to everything; what it measures then says little about
others.

A call that is stopped is cancelled on the loop, and its thread waits until it has really ended:
whoever does the step next must not meet what the coroutine still does on its way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from jobs.lifecycle.stopping import Stopped, on_stop

T = TypeVar("T")

# How often the loop looks how late it is, and what is only a timer's own coarseness.
LOOK_EVERY_S, COARSENESS_S = 0.1, 0.01


class Loop:
    """A running loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._was_late_s = 0.0
        self._look_at = monotonic() + LOOK_EVERY_S
        self._loop.call_soon(self._look)
        self._thread = Thread(target=self._loop.run_forever, name="asyncio loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Wait for the coroutine; past the timeout it is cancelled and `TimeoutError` raised.

        Raises `Stopped` when the step whose call this is has been stopped.
        """
        call = _LoopCall(self._loop)
        try:
            with on_stop(call.cancel):
                return call.run(work, timeout_s)
        except Stopped:
            # One that never began would complain that nobody awaited it.
            work.close()
            raise

    def late_s(self) -> float:
        """The seconds that the loop was late, all in all; the difference of two is of use."""
        return self._was_late_s + self._late_now_s()

    def close(self) -> None:
        """Stop the loop; whatever still runs on it is cancelled."""

        def stop() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._loop.close()

    def _look(self) -> None:
        self._was_late_s += self._late_now_s()
        self._look_at = monotonic() + LOOK_EVERY_S
        self._loop.call_later(LOOK_EVERY_S, self._look)

    def _late_now_s(self) -> float:
        return max(0.0, monotonic() - self._look_at - COARSENESS_S)


class _LoopCall:
    """One coroutine on the loop, and the thread that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(self._bounded(work, timeout_s), self._loop).result()

    def cancel(self) -> None:
        """Ask the coroutine to end. From any thread; it does not wait."""
        self._loop.call_soon_threadsafe(self._cancel_on_loop)

    def _cancel_on_loop(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def _bounded(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        if self._is_cancelled:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        return await asyncio.wait_for(_contained(work), timeout_s)


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        # These two would end the loop itself, and with it every other call of this process.
        raise RuntimeError(f"it raised {type(error).__name__}") from None

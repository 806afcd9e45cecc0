"""The one asyncio loop of a process, behind a small door for threads.

Model clients keep connections that belong to a loop, so a process has one for as long as it lives.
Hundreds of slots wait on it at once; each waits in its own thread, the loop in none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        # These two would end the loop itself, and with it every other call of this process.
        raise RuntimeError(f"it raised {type(error).__name__}") from None


class Loop:
    """A running loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="asyncio loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Wait for the coroutine; past the timeout it is cancelled and `TimeoutError` raised."""
        return asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(_contained(work), timeout_s), self._loop
        ).result()

    def close(self) -> None:
        """Stop the loop; whatever still runs on it is cancelled."""

        def stop() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(timeout=5.0)

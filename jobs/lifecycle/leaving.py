"""Leaving: what happens between the word to go and the end of the process.

    draining              nothing is claimed, and running steps get a grace
    taken off the lanes   what is rung from here on is for others to hear
    handed back           what still runs is stopped and made ready for others; it costs no try
    gone                  or, after a restart was asked for, begun again in the same process

A call that must not happen twice is never handed back. A worker that restarts itself waits for it;
one that was told to go leaves it to the question that its loss will raise.

Postgres and Redis may be away: every part has its bound, and the lease gives back the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

import structlog

from jobs.lifecycle.clock import may_stop, stop_calls
from jobs.lifecycle.heart import Heart
from jobs.lifecycle.house import House
from jobs.lifecycle.restart import restart
from jobs.lifecycle.settling import hand_back

log = structlog.get_logger("worker")

GRACE_S = 8.0
HAND_BACK_S = 5.0
# How long a worker that could go on waits for calls that must not happen twice.
PRECIOUS_S_MAX = 120.0
LEAVING = "the worker is leaving"


class Leaving:
    """The way out of one worker process, taken once. `silence` takes it off the lanes."""

    def __init__(self, house: House, heart: Heart, silence: Callable[[], None]) -> None:
        self._house, self._heart, self._silence = house, heart, silence
        self._lock = Lock()
        self._is_told = False
        self._is_under_way = Event()

    def begin(self, *_: Any) -> None:
        """Leave for good, as a signal tells; a second signal leaves at once."""
        if self._is_told:
            os._exit(1)
        self._is_told = True
        self._begin()

    def begin_again(self) -> None:
        """Leave, and start anew in the same process, unless told to go meanwhile."""
        self._begin()

    def _begin(self) -> None:
        with self._lock:
            if not self._is_under_way.is_set():
                self._is_under_way.set()
                Thread(target=self._go, name="leaving", daemon=True).start()

    def _go(self) -> None:
        try:
            self._leave()
        except Exception as error:  # noqa: BLE001 - whatever happens on the way out, it ends
            log.error("worker stopped in disorder", error=type(error).__name__)
        finally:
            os._exit(1)

    def _leave(self) -> None:
        give_up_at = monotonic() + GRACE_S
        self._heart.drain()
        self._silence()
        self._wait_while(lambda: self._house.watch.is_busy, give_up_at - monotonic())
        # Postgres may be gone, too: then the lease gives the steps back.
        handing_back = Thread(target=self._hand_back, name="hand back", daemon=True)
        handing_back.start()
        handing_back.join(HAND_BACK_S)
        self._wait_while(lambda: self._is_precious() and not self._is_told, PRECIOUS_S_MAX)
        self._heart.stop()
        self._silence()
        if not self._is_told:
            restart()
        log.info("worker stopped")
        # Threads cannot be stopped, and Celery would wait for them.
        os._exit(0)

    def _hand_back(self) -> None:
        steps = self._house.watch.take(lambda step: may_stop(step, self._house))
        # Whoever gets them begins at once, so they have to be over here.
        stop_calls(steps, self._house, LEAVING)
        for step in steps:
            hand_back(step.held, self._house, 0.0, "queued", LEAVING)

    def _is_precious(self) -> bool:
        steps = self._house.watch.steps()
        return any(not (step.is_given_up or may_stop(step, self._house)) for step in steps)

    def _wait_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        give_up_at, pause = monotonic() + timeout_s, Event()
        while condition() and monotonic() < give_up_at:
            pause.wait(0.05)

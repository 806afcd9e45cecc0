"""Deaf: notice that rings lie on our lanes while we have hands free and hear none of them.

A consumer on Redis can fall silent after a reconnect without an error: the process lives and beats,
its connections look well, and no message ever comes. Nobody outside can tell that from a worker
that has nothing to do. We can: a message on a lane goes at once to whoever waits for one, so a lane
that holds messages, look after look, while a worker with a free slot is given none, says that this
worker does not wait any more.

Only looks that all say so count; one that says otherwise begins the count anew:

    a ring was heard since the last look
    no slot is free, so nothing should come
    the worker does not believe in itself, and would not claim
    the lanes are empty, or Redis does not answer

Counting looks, not seconds, keeps a process that was frozen from taking its sleep for silence.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog

from broker.depth import Gauge
from broker.errors import BrokerDown
from broker.lanes import lanes_of
from jobs.lifecycle.house import House
from jobs.lifecycle.restart import may_restart

log = structlog.get_logger("worker")

LOOKS = 10


class Ear:
    """Hears the rings of a worker, and calls `on_deaf` when there should have been some."""

    def __init__(
        self,
        house: House,
        gauge: Gauge,
        slots: int,
        on_deaf: Callable[[], None],
        *,
        deaf_after_s: float,
    ) -> None:
        self._house, self._gauge, self._slots, self._on_deaf = house, gauge, slots, on_deaf
        self._lanes = lanes_of(house.work)
        self._look_every_s = deaf_after_s / LOOKS
        self._has_heard = False
        self._thread = Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hear(self) -> None:
        """A ring came in."""
        self._has_heard = True

    def _run(self) -> None:
        pause, in_vain = Event(), 0
        while True:
            pause.wait(self._look_every_s)
            in_vain = in_vain + 1 if self._is_passed_over() else 0
            if in_vain == LOOKS:
                if self._tell():
                    return
                in_vain = 0

    def _is_passed_over(self) -> bool:
        """Whether rings lie there that we should have been given by now."""
        has_heard, self._has_heard = self._has_heard, False
        if has_heard or not self._house.may_claim.is_set():
            return False
        if self._house.watch.attempts >= self._slots:
            return False
        try:
            return any(self._gauge.measure(self._lanes).values())
        except BrokerDown:
            return False

    def _tell(self) -> bool:
        """Act on being deaf; False when that has been tried too often lately."""
        log.error("deaf: rings lie on the lanes and none is heard", lanes=self._lanes)
        if not may_restart():
            log.error("restarted too often lately; left as it is for now")
            return False
        self._on_deaf()
        return True

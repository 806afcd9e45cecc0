"""The clock: a thread that knows how long nobody has heard of this worker, and acts on it in time.

A worker is believed for one lease after its last beat. Whatever the reason that no beat goes
through, a dead network, a Postgres that hangs, a process that was frozen, this thread finds out by
the time alone: it never asks Postgres or Redis anything, so nothing can hold it up.

    after DOUBT_AFTER of the lease   nothing more is claimed
    after STOP_AFTER                 steps that another worker may be given are stopped

A beat counts from the moment it was sent: that is the earliest that Postgres can have heard it. So
when the lease ends, what could be done twice is over, but for a thread inside C code. Left alone
are steps whose result is in hand, because the fence keeps a late one out, and calls that must not
happen twice, because nobody makes them again by themselves, and what they came to is precious.

The same thread looks for steps that overstay. Settling one needs Postgres, so another thread does
it, after the call was stopped in the same way and its slot has come free.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Lock, Thread
from time import monotonic
from uuid import UUID

import structlog

from jobs.lifecycle.attempt import give_up_overdue
from jobs.lifecycle.effects import is_repeatable
from jobs.lifecycle.house import House
from jobs.lifecycle.watch import Running

log = structlog.get_logger(__name__)

# The share of a lease without a beat after which a worker must not believe in itself any more,
DOUBT_AFTER = 0.6
# and after which its steps have to be over: there is still time to stop them.
STOP_AFTER = 0.85
LOOKS_PER_LEASE = 40
# How long a call that was asked to stop is waited for; past that it sits in C code.
STOP_S_MAX = 1.0
OVERSTAYED = "it took longer than it may"


class Clock:
    """Looks at the time until stopped."""

    def __init__(self, house: House, lease_s: float) -> None:
        self._house = house
        self._lease_s = lease_s
        self._beaten_at = float("-inf")
        self._lock = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def hear(self, sent_at: float, newcomer: UUID | None = None) -> None:
        """A beat that was sent at this moment got through; a newcomer is believed from here on."""
        with self._lock:
            self._beaten_at = max(self._beaten_at, sent_at)
            if newcomer is not None:
                self._house.watch.believe(newcomer)

    def _run(self) -> None:
        while not self._stop.wait(self._lease_s / LOOKS_PER_LEASE):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - a clock that stops lets steps run for ever
                log.error("the clock stumbled", error=type(error).__name__)

    def _look(self) -> None:
        self._judge_silence()
        for running, why in self._house.watch.to_stop():
            if may_stop(running, self._house):
                running.call.stop(why)
        for running in self._house.watch.take_overdue():
            Thread(target=self._give_up, args=(running,), daemon=True).start()

    def _judge_silence(self) -> None:
        # Under the lock, so that a newcomer is not doubted for the silence before it came.
        with self._lock:
            silence_s = monotonic() - self._beaten_at
            if silence_s > self._lease_s * DOUBT_AFTER:
                self._house.may_claim.clear()
                self._house.is_doubtful.set()
            if silence_s > self._lease_s * STOP_AFTER:
                self._house.watch.doubt()

    def _give_up(self, running: Running) -> None:
        stop_calls([running], self._house, OVERSTAYED)
        give_up_overdue(running, self._house)


def stop_calls(steps: Sequence[Running], house: House, why: str) -> None:
    """Stop these calls, but not those that must not happen twice; wait a moment for their end."""
    left = [step for step in steps if may_stop(step, house)]
    for step in left:
        step.unwanted = why
    give_up_at, pause = monotonic() + STOP_S_MAX, Event()
    while monotonic() < give_up_at and (left := [x for x in left if not x.call.stop(why)]):
        pause.wait(0.01)


def may_stop(running: Running, house: House) -> bool:
    """Whether the step may be run again, so that what it does now may be cut short."""
    return is_repeatable(running.held, house.registry.find(running.held.agent))

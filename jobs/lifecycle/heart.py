"""The heart: a thread that says this worker is alive, from outside all work.

It beats once a quarter of the lease, on a connection of its own, so that neither a busy pool nor a
busy thread can silence it. A beat may hang as long as the network makes it, so the heart does not
judge itself: the clock does (see `clock.py`), by the time of the last beat that got through. It
stops the claims of a worker that cannot beat, and then its steps, before the lease ends and anybody
may take them over.

An incarnation is replaced by a new one, with a new id, in two cases:

    found lost   the beat says so: its steps are others' by now, and are stopped
    in doubt     Postgres went away for a while, or while a claim or commit was on its way, so a
                 step may be held that nobody runs

The old one is beaten on until its last step has come in: a result that was in hand is kept, a step
that was stopped is handed back without costing it a try, and both are refused by the fence if
somebody has taken them over. Then it says that it has stopped; whatever it still seems to hold is
made ready again by the scheduler.
"""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from threading import Event, Thread
from time import monotonic
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from jobs.lifecycle.clock import Clock
from jobs.lifecycle.house import House
from jobs.lifecycle.schedules import begins_of_all
from store import pulse, workers
from store.doors import Doors
from store.errors import StoreError
from store.settings import StoreSettings
from store.states import Work, WorkerState

log = structlog.get_logger(__name__)

BEATS_PER_LEASE = 4


def new_incarnation() -> UUID:
    """An id that no worker had before."""
    return uuid7()


class Heart:
    """Beats for a house until stopped."""

    def __init__(self, house: House, settings: StoreSettings, slots: int) -> None:
        self._house = house
        self._slots = slots
        self._lease_s = settings.lease_s
        self._pulse_file = settings.pulse_file
        self._doors = Doors(
            settings.model_copy(
                update={"pool_size": 1, "statement_timeout_s": 3, "connect_timeout_s": 2}
            )
        )
        self._clock = Clock(house, settings.lease_s)
        self._leaving: list[UUID] = []
        self._is_draining = Event()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Register the incarnation and begin to beat; raises when Postgres is not there."""
        self._register(self._house.worker_id)
        self._house.may_claim.set()
        self._clock.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and say so, as far as Postgres listens."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        try:
            for worker_id in [*self._leaving, self._house.worker_id]:
                self._move(worker_id, WorkerState.STOPPED)
        except StoreError:
            log.warning("could not say goodbye; the lease will run out")
        self._clock.stop()
        self._doors.close()

    def drain(self) -> None:
        """Claim nothing any more; what runs goes on."""
        self._is_draining.set()
        self._house.may_claim.clear()
        self._leaving.append(self._house.worker_id)
        try:
            self._move(self._house.worker_id, WorkerState.DRAINING)
        except StoreError:
            log.warning("could not say that this worker is leaving")

    def _run(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            try:
                self._beat()
                pulse.touch(self._pulse_file)
            except Exception as error:  # noqa: BLE001 - a heart that stops is a worker that is lost
                log.warning("no beat", error=str(error))

    def _beat(self) -> None:
        house, sent_at = self._house, monotonic()
        with self._doors.hot() as connection:
            names = {house.worker_id, *self._leaving}
            lost = {each for each in names if not workers.beat(connection, each)}
        self._clock.hear(sent_at)
        for worker_id in lost:
            house.watch.doubt(worker_id)
        is_to_be_replaced = house.worker_id in lost or house.is_doubtful.is_set()
        if is_to_be_replaced and not self._is_draining.is_set():
            self._reincarnate()
        for worker_id in [each for each in self._leaving if each != house.worker_id]:
            if house.watch.count(worker_id) == 0:
                self._move(worker_id, WorkerState.STOPPED)
                house.watch.doubt(worker_id)
                self._leaving.remove(worker_id)

    def _reincarnate(self) -> None:
        house = self._house
        old, new = house.worker_id, new_incarnation()
        self._register(new)
        house.is_doubtful.clear()
        house.worker_id = new
        self._leaving.append(old)
        house.may_claim.set()
        if self._is_draining.is_set():
            house.may_claim.clear()
        log.warning("incarnation replaced", old=str(old), new=str(new))

    def _register(self, worker_id: UUID) -> None:
        sent_at = monotonic()
        with self._doors.as_nobody() as tx:
            workers.register(
                tx,
                worker_id,
                name=f"{self._house.work}@{socket.gethostname()}:{os.getpid()}",
                work=Work(self._house.work),
                slots=self._slots,
                version=version("stepwell"),
                serves={each.name: each.version for each in self._house.registry.agents.values()},
                begins=begins_of_all(self._house.registry),
            )
        self._clock.hear(sent_at, newcomer=worker_id)

    def _move(self, worker_id: UUID, state: WorkerState) -> None:
        with self._doors.as_nobody() as tx:
            workers.move(tx, worker_id, state)

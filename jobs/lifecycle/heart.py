"""The heart: a thread that says this worker is alive, from outside all work.

It beats once a quarter of the lease, on a connection of its own, so that neither a busy pool nor a
busy thread can silence it. A worker that cannot beat for most of a lease stops claiming before
anybody may take its steps over.

An incarnation is replaced by a new one, with a new id, in two cases: it was found lost, or it is in
doubt (Postgres went away while a claim or commit was on its way, so a step may be held that nobody
runs). The old one is beaten on until its last step has come in, and then says that it has stopped;
whatever it still seems to hold is made ready again by the scheduler.

The same thread looks after steps that overstay, because it is the one that never hangs.
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

from jobs.lifecycle.attempt import give_up_overdue
from jobs.lifecycle.house import House
from store import pulse, workers
from store.doors import Doors
from store.errors import StoreError
from store.settings import StoreSettings
from store.states import Work, WorkerState

log = structlog.get_logger(__name__)

BEATS_PER_LEASE = 4
# The share of a lease without a beat after which a worker must not believe in itself any more.
DOUBT_AFTER = 0.6


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
        self._leaving: list[UUID] = []
        self._is_draining = Event()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Register the incarnation and begin to beat; raises when Postgres is not there."""
        self._register(self._house.worker_id)
        self._house.may_claim.set()
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
        beaten_at = monotonic()
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            try:
                self._beat()
                beaten_at = monotonic()
                pulse.touch(self._pulse_file)
            except Exception as error:  # noqa: BLE001 - a heart that stops is a worker that is lost
                if monotonic() - beaten_at > self._lease_s * DOUBT_AFTER:
                    self._house.may_claim.clear()
                    self._house.is_doubtful.set()
                log.warning("no beat", error=str(error))
            for running in self._house.watch.take_overdue():
                # The one thread that must not wait for Postgres asks another to settle it.
                Thread(target=give_up_overdue, args=(running, self._house), daemon=True).start()

    def _beat(self) -> None:
        house = self._house
        with self._doors.hot() as connection:
            is_believed = workers.beat(connection, house.worker_id)
            for worker_id in self._leaving:
                workers.beat(connection, worker_id)
        if not self._is_draining.is_set() and (not is_believed or house.is_doubtful.is_set()):
            self._reincarnate()
        for worker_id in [each for each in self._leaving if each != house.worker_id]:
            if house.watch.count(worker_id) == 0:
                self._move(worker_id, WorkerState.STOPPED)
                self._leaving.remove(worker_id)

    def _reincarnate(self) -> None:
        house = self._house
        old, new = house.worker_id, new_incarnation()
        self._register(new)
        house.is_doubtful.clear()
        house.worker_id = new
        self._leaving.append(old)
        house.may_claim.set()
        log.warning("incarnation replaced", old=str(old), new=str(new))

    def _register(self, worker_id: UUID) -> None:
        with self._doors.as_nobody() as tx:
            workers.register(
                tx,
                worker_id,
                name=f"{self._house.work}@{socket.gethostname()}:{os.getpid()}",
                work=Work(self._house.work),
                slots=self._slots,
                version=version("stepwell"),
            )

    def _move(self, worker_id: UUID, state: WorkerState) -> None:
        with self._doors.as_nobody() as tx:
            workers.move(tx, worker_id, state)

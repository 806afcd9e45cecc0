"""The Celery side: a ring comes in, an attempt goes out. `python -m jobs.worker --work waits`.

One process, Celery's thread pool with many slots, one asyncio loop. Work that computes has
processes of its own with few slots, so that it never starves work that waits.

SIGTERM drains (see `leaving.py`): the lanes are left to others, running steps get a grace, and
whatever still runs is handed back without costing it a try. SIGKILL is survived by everybody else:
the lease runs out. A worker that has fallen silent (see `deaf.py`) leaves in the same way, and
begins again in the same process.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, Task
from celery.apps.worker import Worker
from celery.exceptions import Reject
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready

from broker.app import STEP_TASK, create_app
from broker.depth import Gauge
from broker.gates import Gates
from broker.lanes import lanes_of
from broker.publish import Bell
from broker.settings import BrokerSettings
from jobs.agent.agent import Agent
from jobs.agent.model import Models
from jobs.agent.registry import Registry
from jobs.errors import Misdeclared
from jobs.lifecycle.attempt import attempt
from jobs.lifecycle.deaf import Ear
from jobs.lifecycle.heart import Heart, new_incarnation
from jobs.lifecycle.house import House
from jobs.lifecycle.leaving import Leaving
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.pace import Pace
from jobs.settings import Settings
from store.doors import Doors
from store.errors import NotReady, Unreachable
from store.logs import configure
from store.settings import StoreSettings
from store.states import Work

log = structlog.get_logger("worker")

SLOTS = {Work.WAITS: 200, Work.COMPUTES: os.cpu_count() or 1}
# How long Celery's thread is given to leave the lanes; without Redis it is busy coming back.
SILENCE_S = TURN_S = 1.0
LISTEN_EVERY_S = 0.05
FILES_AT_REST, FILES_PER_SLOT = 256, 4


def build_house(work: Work) -> House:
    """Everything a worker process has at hand; raises `NotReady`, `Unreachable`, `Misdeclared`."""
    settings, broker = Settings(), BrokerSettings()
    doors = Doors(StoreSettings())
    doors.check()
    registry, models = Registry.load(settings.agents), Models(settings)
    if work is Work.WAITS:
        models.prepare(each for each in registry.agents.values() if isinstance(each, Agent))
    return House(
        settings=settings,
        work=work,
        worker_id=new_incarnation(),
        doors=doors,
        bell=Bell(create_app(broker)),
        registry=registry,
        models=models,
        loop=Loop(),
        pace=Pace(settings.quantum_ms),
        gates=Gates(broker),
    )


def add_step_task(app: Celery, house: House, ear: Ear) -> None:
    """Give the app its one task: to answer a ring."""

    # Celery has no types, so its decorator is `Any` to the checker.
    @app.task(name=STEP_TASK, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def step(self: Task, tenant_id: str, job_id: str, seq: int) -> None:
        ear.hear()
        if not house.may_claim.is_set():
            # It was on its way when we left the lanes: back with it, for others to hear.
            raise Reject("not claimed here", requeue=True)
        try:
            name = self.request.shadow or ""
            attempt(UUID(tenant_id), UUID(job_id), int(seq), house, name)
        except Exception:
            # Celery would show the traceback in Flower; it may hold a tenant's data.
            log.exception("attempt failed", job=job_id, step=seq)
            raise AttemptFailed(f"job={job_id} step={seq}") from None


class AttemptFailed(Exception):
    """The platform itself stumbled over this step; its log line has the traceback."""


def allow_files(slots: int) -> None:
    """Raise this process's limit on open files to what its slots may need, as far as allowed.

    Every slot may hold a connection or two, and shells usually start a process with 1,024.
    """
    wanted = FILES_AT_REST + FILES_PER_SLOT * slots
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Listening:
    """Takes a worker on and off its lanes: what it would not claim is for others to hear."""

    def __init__(self, worker: Worker, house: House) -> None:
        self._worker, self._house = worker, house
        self._lanes = lanes_of(house.work)
        self._is_on = True
        self._is_over = Event()
        self._is_silent, self._has_turned = Event(), Event()
        self._thread = Thread(target=self._follow, name="listening", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Take no more messages, ever, and see off those that came too late for us.

        Waits a moment for it: Redis may be away.
        """
        self._is_over.set()
        if self._is_silent.wait(SILENCE_S):
            # Celery goes round once more: what had come in by then is back on its lane.
            has_been_round = Event()
            self._worker.consumer.call_soon(has_been_round.set)
            has_been_round.wait(SILENCE_S)

    def _follow(self) -> None:
        pause = Event()
        while True:
            is_wanted = self._house.may_claim.is_set() and not self._is_over.is_set()
            if is_wanted is not self._is_on:
                self._has_turned.clear()
                # Only Celery's own thread may touch its connections.
                self._worker.consumer.call_soon(self._turn, is_wanted)
                self._has_turned.wait(TURN_S)
            pause.wait(LISTEN_EVERY_S)

    def _turn(self, is_wanted: bool) -> None:
        consumer = self._worker.consumer
        turn = consumer.add_task_queue if is_wanted else consumer.cancel_task_queue
        try:
            for lane in self._lanes:
                turn(lane)
        except Exception as error:  # noqa: BLE001 - it would end Celery's loop; it is tried again
            log.warning("lanes neither left nor joined", error=type(error).__name__)
            return
        self._is_on = is_wanted
        self._has_turned.set()
        if not is_wanted:
            self._is_silent.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 1 when the platform underneath must not be used."""
    args = _parse(argv)
    work = Work(args.work)
    slots = args.slots or SLOTS[work]
    prepare(slots)
    try:
        house = build_house(work)
        heart = Heart(house, house.doors.settings, slots)
        heart.start()
    except (NotReady, Unreachable, Misdeclared) as error:
        log.error("worker cannot start", error=str(error))
        return 1
    return serve(house, heart, slots)


def prepare(slots: int) -> None:
    """Set up the process: open files, logs, and what Celery would say about either."""
    allow_files(slots)
    configure()
    # Celery warns of root because of pickle; nothing but JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Celery must not set up logging of its own: whoever connects to this signal has done it.
    setup_logging.connect(lambda **_: None, weak=False)


def serve(house: House, heart: Heart, slots: int) -> int:
    """Answer rings until told to stop; the exit code."""
    broker = BrokerSettings()
    app = create_app(broker)
    worker = create_worker(app, house.work, slots)
    listening = Listening(worker, house)
    leaving = Leaving(house, heart, listening.end)
    deaf_after_s = house.settings.deaf_after_s
    ear = Ear(house, Gauge(broker), slots, leaving.begin_again, deaf_after_s=deaf_after_s)
    add_step_task(app, house, ear)

    def ready(**_: Any) -> None:
        # After Celery has set its own handlers, which wait for threads without limit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leaving.begin)
        listening.start()
        ear.start()
        spare_the_collector()
        agents = sorted(house.registry.agents)
        log.info("worker ready", work=house.work.value, slots=slots, agents=agents)

    worker_ready.connect(ready, weak=False)
    worker.start()
    return int(worker.exitcode or 0)


def create_worker(app: Celery, work: Work, slots: int) -> Worker:
    """Celery's worker: its thread pool, on the lanes of this kind of work."""
    return Worker(
        app=app,
        pool="threads",
        concurrency=slots,
        queues=lanes_of(work),
        hostname=f"{work}-{os.getpid()}@{socket.gethostname()}",
        without_gossip=True,
        without_mingle=True,
        loglevel="WARNING",
        quiet=True,
    )


def spare_the_collector() -> None:
    """Let Python look for garbage in circles less often, and never among what was loaded.

    With a thousand calls at once that was a fifth of the worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.worker", description="Run steps of jobs.")
    parser.add_argument("--work", choices=[each.value for each in Work], default=Work.WAITS.value)
    parser.add_argument("--slots", type=int, default=0, help="steps at once (0: by kind of work)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

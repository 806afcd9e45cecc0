"""The Celery side: a ring comes in, an attempt goes out. `python -m jobs.worker --work waits`.

One process, Celery's thread pool with many slots, one asyncio loop. Work that computes has
processes of its own with few slots, so that it never starves work that waits.

SIGTERM drains: nothing new is claimed, running steps get a grace, and whatever still runs is handed
back without costing it a try. SIGKILL is survived by everybody else: the lease runs out.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, Task
from celery.apps.worker import Worker
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready

from broker.app import STEP_TASK, create_app
from broker.lanes import lanes_of
from broker.publish import Bell
from broker.settings import BrokerSettings
from jobs.agent.model import Models
from jobs.agent.registry import Registry
from jobs.errors import Misdeclared
from jobs.lifecycle.attempt import attempt
from jobs.lifecycle.effects import is_repeatable
from jobs.lifecycle.heart import Heart, new_incarnation
from jobs.lifecycle.house import House
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.pace import Pace
from jobs.lifecycle.settling import hand_back
from jobs.settings import Settings
from store.doors import Doors
from store.errors import NotReady, Unreachable
from store.logs import configure
from store.settings import StoreSettings
from store.states import Work

log = structlog.get_logger("worker")

SLOTS = {Work.WAITS: 200, Work.COMPUTES: os.cpu_count() or 1}
GRACE_S = 8.0
HAND_BACK_S = 5.0
FILES_AT_REST, FILES_PER_SLOT = 256, 4


def build_house(work: Work) -> House:
    """Everything a worker process has at hand; raises `NotReady`, `Unreachable`, `Misdeclared`."""
    settings, broker = Settings(), BrokerSettings()
    doors = Doors(StoreSettings())
    doors.check()
    return House(
        settings=settings,
        work=work,
        worker_id=new_incarnation(),
        doors=doors,
        bell=Bell(create_app(broker)),
        registry=Registry.load(settings.agents),
        models=Models(settings),
        loop=Loop(),
        pace=Pace(settings.quantum_ms),
    )


def create_worker_app(house: House, broker: BrokerSettings) -> Celery:
    """The Celery app with its one task, bound to this house."""
    app = create_app(broker)

    # Celery has no types, so its decorator is `Any` to the checker.
    @app.task(name=STEP_TASK, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def step(self: Task, tenant_id: str, job_id: str, seq: int) -> None:
        try:
            name = self.request.shadow or ""
            attempt(UUID(tenant_id), UUID(job_id), int(seq), house, name)
        except Exception:
            # Celery would show the traceback in Flower; it may hold a tenant's data.
            log.exception("attempt failed", job=job_id, step=seq)
            raise AttemptFailed(f"job={job_id} step={seq}") from None

    return app


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


class Drain:
    """What happens between SIGTERM and the end of the process."""

    def __init__(self, house: House, heart: Heart) -> None:
        self._house, self._heart = house, heart
        self._asked = Event()

    def begin(self, *_: Any) -> None:
        """Start leaving; a second signal leaves at once."""
        if self._asked.is_set():
            os._exit(1)
        self._asked.set()
        Thread(target=self._leave, name="drain", daemon=True).start()

    def _leave(self) -> None:
        self._heart.drain()
        give_up_at = monotonic() + GRACE_S
        pause = Event()
        while self._house.watch.is_busy and monotonic() < give_up_at:
            pause.wait(0.05)
        # Postgres may be gone, too: then the lease gives the steps back.
        handing_back = Thread(target=self._hand_back, name="hand back", daemon=True)
        handing_back.start()
        handing_back.join(HAND_BACK_S)
        self._heart.stop()
        log.info("worker stopped")
        # Threads cannot be stopped, and Celery would wait for them.
        os._exit(0)

    def _hand_back(self) -> None:
        for running in self._house.watch.take_all():
            program = self._house.registry.find(running.held.agent)
            # A call that must not happen twice stays with its worker: its result may still come.
            if is_repeatable(running.held, program):
                hand_back(running.held, self._house, 0.0, "queued", "the worker is leaving")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 1 when the platform underneath must not be used."""
    args = _parse(argv)
    work = Work(args.work)
    slots = args.slots or SLOTS[work]
    allow_files(slots)
    configure()
    # Celery warns of root because of pickle; nothing but JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Celery must not set up logging of its own: whoever connects to this signal has done it.
    setup_logging.connect(lambda **_: None, weak=False)
    try:
        house = build_house(work)
        heart = Heart(house, house.doors.settings, slots)
        heart.start()
    except (NotReady, Unreachable, Misdeclared) as error:
        log.error("worker cannot start", error=str(error))
        return 1
    app = create_worker_app(house, BrokerSettings())
    worker = Worker(
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
    drain = Drain(house, heart)

    def ready(**_: Any) -> None:
        # After Celery has set its own handlers, which wait for threads without limit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, drain.begin)
        log.info("worker ready", work=work.value, slots=slots, agents=sorted(house.registry.agents))

    worker_ready.connect(ready, weak=False)
    worker.start()
    return int(worker.exitcode or 0)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.worker", description="Run steps of jobs.")
    parser.add_argument("--work", choices=[each.value for each in Work], default=Work.WAITS.value)
    parser.add_argument("--slots", type=int, default=0, help="steps at once (0: by kind of work)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

"""The processes of one run: front door, workers, scheduler and provider, on a database of its own.

Every child is tied to us (`store.hosting.offspring`): it ends when we do, however we end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import psycopg
from redis import Redis

from broker.embedded import PrivateValkey
from store import migrate
from store.embedded import ADMIN, CLOCK, RUNTIME, PrivatePostgres
from store.hosting import offspring
from tests.overload.policies import Policy
from tests.overload.provider import Remote
from tests.overload.trace import TENANTS

ROOT = Path(__file__).parents[2]
PROGRAMS = "tests.overload.programs"
TOKEN = "a-token-that-only-the-harness-knows"
START_S_MAX = 60.0
LOOK_EVERY_S = 0.05
LAST_WORDS_CHARS = 3000
# A run is over when it is over: what still works is of no interest.
END_STEPS = ((signal.SIGKILL, 10.0),)

TENANT_IDS = {name: uuid5(NAMESPACE_URL, name) for name in TENANTS}


@dataclass(frozen=True, slots=True)
class Size:
    """How much the provider and the workers can do: slots are for each worker."""

    at_once: int = 6
    takes_s: float = 0.25
    crm_takes_s: float = 0.1
    workers: int = 2
    slots: int = 5

    @property
    def capacity_per_s(self) -> float:
        """Model calls that the provider can answer in a second."""
        return self.at_once / self.takes_s


@dataclass(frozen=True)
class Ground:
    """A migrated database and an empty Redis. All are URLs."""

    home: Path
    admin_url: str = field(repr=False)
    runtime_url: str = field(repr=False)
    operator_url: str = field(repr=False)
    redis_url: str = field(repr=False)

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database as somebody whom no wall stops."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            return admin.execute(statement.encode(), values).fetchall()

    def add_tenants(self) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            for name, tenant_id in TENANT_IDS.items():
                admin.execute(
                    "insert into stepwell.tenants (tenant_id, name) values (%s, %s)"
                    " on conflict do nothing",
                    (tenant_id, name),
                )


class Servers:
    """One Postgres and one Redis for all runs; each run gets a database of its own."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sw-o-"))
        self.postgres = PrivatePostgres(self.home, durable=False)
        self.redis = PrivateValkey(self.home)
        self._numbers = count(1)

    def __enter__(self) -> Servers:
        try:
            self.postgres.start()
            self.redis.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.stop()
        self.postgres.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def lay(self) -> Ground:
        """Fresh ground for a run."""
        number = next(self._numbers)
        name = f"run_{number}"
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as admin:
            admin.execute(f"create database {name}")
        with Redis.from_url(self.redis.url) as client:
            client.flushall()
        admin_url, runtime_url, operator_url = (
            self.postgres.url(login, self.postgres.password(login), name)
            for login in (ADMIN, RUNTIME, CLOCK)
        )
        migrate.upgrade(admin_url, runtime_url, operator_url)
        home = self.home / name
        home.mkdir()
        return Ground(home, admin_url, runtime_url, operator_url, self.redis.url)


@dataclass
class Platform:
    """The platform of a run, ready for work."""

    ground: Ground
    policy: Policy
    size: Size
    url: str
    provider: Remote
    processes: list[subprocess.Popen[bytes]]

    def check(self) -> None:
        """Raise when a process has died, which spoils every figure."""
        dead = [process.args for process in self.processes if process.poll() is not None]
        if dead:
            raise RuntimeError(f"a process of the run died: {dead[0]!r}")

    @property
    def open_jobs(self) -> int:
        [(found,)] = self.ground.ask("select count(*) from stepwell.jobs where finished_at is null")
        return int(found)


@contextmanager
def platform(ground: Ground, policy: Policy, size: Size) -> Iterator[Platform]:
    """The processes of a run while the block lasts."""
    ground.add_tenants()
    crew = _Crew(ground, policy)
    try:
        provider_url = crew.start_provider(size)
        crew.start_members(size, provider_url)
        url = crew.words_of("front", "front ready")
        yield Platform(ground, policy, size, url, Remote(provider_url), crew.processes)
    finally:
        crew.end()


class _Crew:
    """Starts processes with a log each, and ends them."""

    def __init__(self, ground: Ground, policy: Policy) -> None:
        self._ground, self._policy = ground, policy
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_provider(self, size: Size) -> str:
        words = ("--at-once", size.at_once, "--takes-s", size.takes_s)
        self._start("provider", "provider", *words, "--crm-takes-s", size.crm_takes_s)
        return self.words_of("provider", "provider ready")

    def start_members(self, size: Size, provider_url: str) -> None:
        """Start all the others at once, and wait until each of them says that it is ready."""
        more = {
            "STEPWELL_MODEL_BASE_URL": f"{provider_url}/v1",
            "OVERLOAD_PROVIDER": provider_url,
        }
        policy = ("--policy", self._policy.name)
        self._start("front", "front", *policy, **more)
        self._start("scheduler", "", **more)
        names = [f"worker{number}" for number in range(size.workers)]
        for name in names:
            words = (*policy, "--work", "waits", "--slots", size.slots)
            self._start(name, "worker", *words, **more)
        self.words_of("scheduler", "scheduler ready")
        for name in names:
            self.words_of(name, "worker ready")

    def words_of(self, name: str, ready: str) -> str:
        """The last word of the line in which this process says that it is ready."""
        log = self._log_of(name)
        until(lambda: ready in _read(log), START_S_MAX, lambda: f"{name}: {_read(log)}")
        (line,) = [line for line in _read(log).splitlines() if ready in line]
        return line.split()[-1]

    def end(self) -> None:
        for process in self.processes:
            offspring.end_child(process, END_STEPS)

    def _start(self, name: str, room: str, *words: object, **more: str) -> None:
        module = f"tests.overload.{room}" if room else "scheduler"
        with self._log_of(name).open("wb") as out:
            process = offspring.spawn(
                [sys.executable, "-m", module, *map(str, words)],
                env=self._environment | more,
                cwd=ROOT,
                stdout=out,
            )
        self.processes.append(process)

    def _log_of(self, name: str) -> Path:
        return self._ground.home / f"{name}.log"

    @property
    def _environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")}
        return {
            **ours,
            "STEPWELL_DATABASE_URL": self._ground.runtime_url,
            "STEPWELL_OPERATOR_DATABASE_URL": self._ground.operator_url,
            "STEPWELL_REDIS_URL": self._ground.redis_url,
            "STEPWELL_AGENTS": PROGRAMS,
            "STEPWELL_HOME": str(self._ground.home),
            "STEPWELL_API_TOKEN": TOKEN,
            **self._policy.settings,
        }


def until(condition: Callable[[], object], timeout_s: float, told: Callable[[], str]) -> None:
    """Wait for the condition; raises `TimeoutError` with the end of what is told then."""
    give_up_at = monotonic() + timeout_s
    while not condition():
        if monotonic() > give_up_at:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {told()[-LAST_WORDS_CHARS:]}")
        Event().wait(LOOK_EVERY_S)


def _read(log: Path) -> str:
    return log.read_text("utf-8", "replace") if log.exists() else ""

"""A world to break: servers of its own, real workers and schedulers, and a wire that can be cut.

Workers reach Postgres over the wire (`proxy.py`), everybody else directly. Whatever is acknowledged
to the world's own desk is remembered in its facts, which a checker compares with the tables.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Self, TypeVar
from unittest import mock
from uuid import UUID, uuid4

import psycopg
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from broker.embedded import PrivateValkey
from broker.settings import BrokerSettings
from jobs.lifecycle import intake
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.intake import Submission
from jobs.settings import Settings
from store import jobs, migrate, tenants, waits
from store.embedded import CLOCK, RUNTIME, PrivatePostgres
from store.errors import Unreachable
from store.settings import StoreSettings
from store.tenants import DEFAULT_TENANT
from tests.faults import disk, history, programs, proxy
from tests.faults.facts import Asked, Outcome, Sent, WorldFacts
from tests.faults.laws import Examined, Terms, Told, examine
from tests.faults.ledger import Begun, Happened, read_lines
from tests.faults.mailserver import MailServer
from tests.faults.members import Crew, until
from tests.faults.points import Board

T = TypeVar("T")

PROGRAMS = "tests.faults.programs"
SERVE_S_MAX = 30.0
SUBMIT_S_MAX = 60.0
AGAIN_S = 0.05
# The platform's own default, which is what the world runs with.
LEASE_S = 4.0


class World:
    """Open it as a context; everything it started is ended with it."""

    def __init__(
        self, *, workers: int = 2, schedulers: int = 1, slots: int = 64, keeps: bool = False
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sw-f-"))
        self.folder = self.home / "world"
        self.folder.mkdir()
        self.postgres = PrivatePostgres(self.home)
        self.redis_server = PrivateValkey(self.home)
        self.crew = Crew(self.folder)
        self.board = Board(self.folder)
        self.mail = MailServer(self.folder / "ledger")
        self.tenants = (DEFAULT_TENANT, uuid4())
        self.keeps = keeps
        self._counts = workers, schedulers, slots
        self._ports = (0, 0)
        # How often something was broken, by what.
        self.faults: Counter[str] = Counter()
        # From when to when a server was away, monotonic.
        self.outages: list[tuple[float, float]] = []
        self.begun = Begun(self.folder / "claims")
        self.happened = Happened(self.folder / "ledger")

    # -- its life ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self.board.prepare()
        self.postgres.start()
        self.redis_server.start()
        urls = self.postgres.admin_url, self.postgres.runtime_url, self.postgres.operator_url
        migrate.upgrade(*urls)
        history.install(self.postgres.admin_url)
        disk.install(self.postgres.admin_url)
        self.mail.start()
        (self.folder / "smtp-port").write_text(str(self.mail.port))
        self._open_wire()
        self.desk = self._open_desk()
        with self.desk.doors.as_operator("second tenant") as tx:
            tenants.ensure(tx, self.tenants[1], "second")
        self.redis = Redis.from_url(self.redis_server.url)
        self.facts = WorldFacts(
            admin_url=self.postgres.admin_url,
            operator_url=self.postgres.operator_url,
            ledger=self.folder / "ledger",
            claims=self.folder / "claims",
            tenants=self.tenants,
        )
        workers, schedulers, _ = self._counts
        for number in range(schedulers):
            self.add_scheduler(number)
        for number in range(workers):
            self.add_worker(number)
        self.crew.begin()
        self.crew.wait_until_ready()

    def close(self) -> None:
        if hasattr(self, "desk"):
            self.desk.close()
            self.redis.close()
        self.crew.end()
        if self.mail.port:
            self.mail.stop()
        self.redis_server.stop()
        self.postgres.stop()
        if not self.keeps:
            shutil.rmtree(self.home, ignore_errors=True)

    def _open_wire(self) -> None:
        socket_path = self.postgres.folder / ".s.PGSQL.5432"
        ports = self.folder / "ports"
        self.crew.join(
            "proxy", 0, self._environment, "--to", str(socket_path), "--ports", str(ports)
        )
        until(ports.exists, SERVE_S_MAX)
        wire, control = ports.read_text().split()
        self._ports = int(wire), int(control)

    def _open_desk(self) -> Desk:
        return Desk.open(
            Settings(agents=PROGRAMS, home=self.folder),
            StoreSettings(
                database_url=SecretStr(self.postgres.runtime_url),
                operator_database_url=SecretStr(self.postgres.operator_url),
            ),
            BrokerSettings(redis_url=SecretStr(self.redis_server.url)),
        )

    # -- its members ------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")}
        return {
            **ours,
            "STEPWELL_DATABASE_URL": self.postgres.runtime_url,
            "STEPWELL_OPERATOR_DATABASE_URL": self.postgres.operator_url,
            "STEPWELL_REDIS_URL": self.redis_server.url,
            "STEPWELL_AGENTS": PROGRAMS,
            "STEPWELL_HOME": str(self.folder),
            "FAULTS_FOLDER": str(self.folder),
        }

    def add_worker(self, number: int) -> None:
        over_the_wire = {
            "STEPWELL_DATABASE_URL": self._url_over_the_wire(RUNTIME),
            "STEPWELL_OPERATOR_DATABASE_URL": self._url_over_the_wire(CLOCK),
            "FAULTS_CONTROL_PORT": str(self._ports[1]),
        }
        words = ("--work", "waits", "--slots", str(self._counts[2]))
        self.crew.join("worker", number, self._environment | over_the_wire, *words)

    def add_scheduler(self, number: int) -> None:
        self.crew.join("scheduler", number, self._environment)

    def _url_over_the_wire(self, login: str) -> str:
        password = self.postgres.password(login)
        address = f"{proxy.HOST}:{self._ports[0]}/stepwell?sslmode=disable&gssencmode=disable"
        return f"postgresql://{login}:{password}@{address}"

    def tell_wire(self, line: str) -> str:
        return proxy.tell(self._ports[1], line)

    # -- jobs -------------------------------------------------------------------------------

    def submit(
        self,
        program: str,
        *,
        nap_ms: float = 0.0,
        job_id: UUID | None = None,
        outcomes: Sequence[Outcome] = ("completed",),
        fault: str = "",
        transition: str = "",
    ) -> Asked:
        """Hand a job in, trying again under one key while Postgres is away, and remember it."""
        count = len(self.facts.asked)
        tenant_id = self.tenants[count % len(self.tenants)]
        given = {"token": f"{program}-{count}", "nap_ms": nap_ms}
        submission = Submission(program, given, idempotency_key=f"key-{count}")
        chosen = job_id or uuid7()
        give_up_at = monotonic() + SUBMIT_S_MAX
        while True:
            try:
                # The points of a job are armed before it exists, so its id is chosen before, too.
                with mock.patch.object(intake, "uuid7", return_value=chosen):
                    made = intake.submit(self.desk, tenant_id, submission).job
                break
            except Unreachable:
                if monotonic() > give_up_at:
                    raise
                Event().wait(AGAIN_S)
        asked = Asked(
            tenant_id,
            made.id,
            program,
            given,
            programs.expect(program, given),
            tuple(outcomes),
            fault,
            transition,
        )
        self.facts.asked.append(asked)
        return asked

    def serves(self, program: str) -> bool:
        return program in self.desk.registry.agents

    def cancel(self, asked: Asked) -> None:
        self.as_tenant(asked.tenant_id, lambda tx: jobs.request_cancel(tx, asked.job_id))

    def signal(self, asked: Asked, name: str) -> None:
        """Send the job a signal, once by this name, and remember it when it was taken."""
        payload = programs.payload_of(asked.input["token"])
        which = asked.tenant_id, asked.job_id, name, payload
        said = self.as_tenant(asked.tenant_id, lambda tx: waits.send_signal(tx, *which, key=name))
        if said is waits.Sent.ACCEPTED:
            statement = "select id from stepwell.signals where job_id = %s and key = %s"
            [(kept,)] = self.patiently(lambda: self.ask(statement, asked.job_id, name))
            told = Sent(asked.tenant_id, asked.job_id, kept, name, payload, monotonic())
            self.facts.sent.append(told)

    def is_waiting(self, asked: Asked, name: str) -> bool:
        """Whether a step of the job waits for this signal now."""
        return bool(
            self.ask(
                "select from stepwell.waits where job_id = %s and name = %s and state = 'pending'",
                asked.job_id,
                name,
            )
        )

    def are_settled(self, job_ids: Sequence[UUID]) -> bool:
        """Whether each of these jobs has ended, or asks a person something."""
        [(unsettled,)] = self.patiently(
            lambda: self.ask(
                "select count(*) from stepwell.jobs where id = any(%s)"
                " and finished_at is null and status <> 'input_required'",
                list(job_ids),
            )
        )
        return unsettled == 0

    def begun_since(self, moments: dict[UUID, float]) -> set[UUID]:
        """Those of the jobs of which a step has begun since their moment."""
        latest = self.begun.latest()
        return {job for job, at in moments.items() if (b := latest.get(str(job))) and b.at > at}

    def has_settled(self) -> bool:
        """Whether every job that was ever asked for has ended, or asks a person something."""
        return self.are_settled([asked.job_id for asked in self.facts.asked])

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database, as somebody whom no wall stops; raises while it is away."""
        with psycopg.connect(self.postgres.admin_url, autocommit=True, connect_timeout=5) as admin:
            return admin.execute(statement.encode(), values).fetchall()

    def examine(self) -> Examined:
        """Hold every law against this world, which has come to rest."""
        told = tuple(
            Told(UUID(line["job"]), line["seq"], line["epoch"], line["became"], line["output"])
            for line in read_lines(self.folder / "told")
        )
        runtime_url = self.postgres.runtime_url
        return examine(self.facts, Terms(lease_s=LEASE_S, runtime_url=runtime_url, told=told))

    def as_tenant(self, tenant_id: UUID, act: Callable[[Connection], T]) -> T:
        """Act in a transaction of the tenant, again while Postgres is away."""

        def once() -> T:
            with self.desk.doors.as_tenant(tenant_id) as tx:
                return act(tx)

        return self.patiently(once)

    def patiently(self, look: Callable[[], T], timeout_s: float = SERVE_S_MAX) -> T:
        """The answer of a look at the database, once it can be had."""
        give_up_at = monotonic() + timeout_s
        while True:
            try:
                return look()
            except (psycopg.OperationalError, Unreachable):
                if monotonic() > give_up_at:
                    raise
                Event().wait(AGAIN_S)

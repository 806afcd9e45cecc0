"""Workers and schedulers as real processes, with a log each, a ledger, and gates between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from broker.settings import BrokerSettings
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.intake import Submission, submit
from jobs.settings import Settings
from store import artifacts, checkpoints, events, jobs
from store.rows import ArtifactRow, CheckpointRow, EventRow, JobRow
from store.settings import StoreSettings
from store.tenants import DEFAULT_TENANT
from tests.conftest import Database
from tests.running import eventually

ROOT = Path(__file__).parents[1]
PROGRAMS = "tests.programs"
START_S_MAX = 60.0


@dataclass
class Member:
    """One process and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, words: str, timeout_s: float = START_S_MAX) -> Member:
        def has_said() -> bool:
            assert self.process.poll() is None or words in self.said(), self.said()
            return words in self.said()

        eventually(has_said, timeout_s)
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@dataclass
class Crew:
    """Processes of one test around one database and one Redis; all are ended with the test."""

    folder: Path
    database: Database
    redis_url: str
    more: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")},
            **self.database.environment,
            "STEPWELL_REDIS_URL": self.redis_url,
            "STEPWELL_AGENTS": PROGRAMS,
            "STEPWELL_HOME": str(self.folder),
            "TEST_LEDGER": str(self.ledger),
            **self.more,
        }

    # -- processes --------------------------------------------------------------------------

    def start(self, name: str, *words: str, **more: str) -> Member:
        log = self.folder / f"{name}-{len(self.members)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=self.environment | more,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        member = Member(process, log)
        self.members.append(member)
        return member

    def start_worker(self, *, work: str = "waits", slots: int = 8, **more: str) -> Member:
        words = ("-m", "jobs.worker", "--work", work, "--slots", str(slots))
        return self.start("worker", *words, **more)

    def start_scheduler(self, **more: str) -> Member:
        return self.start("scheduler", "-m", "scheduler", **more)

    def wait_until_ready(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.wait_for("ready")

    def end(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.process.kill()
            member.process.wait()

    # -- the world outside ------------------------------------------------------------------

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def effects(self, begins: str = "") -> list[str]:
        """The lines of the ledger that begin so."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [line for line in lines if line.startswith(begins)]

    def open_gate(self, name: str) -> None:
        (self.folder / f"gate-{name}").touch()

    # -- jobs -------------------------------------------------------------------------------

    def open_desk(self) -> Desk:
        return Desk.open(
            Settings(agents=PROGRAMS, home=self.folder),
            StoreSettings(
                database_url=SecretStr(self.database.runtime_url),
                operator_database_url=SecretStr(self.database.operator_url),
            ),
            BrokerSettings(redis_url=SecretStr(self.redis_url)),
        )


@dataclass
class Viewer:
    """Submits jobs of the default tenant through a desk, and looks at them."""

    desk: Desk
    tenant_id: UUID = DEFAULT_TENANT

    def submit(self, agent: str, given: dict[str, Any], **more: Any) -> UUID:
        return submit(self.desk, self.tenant_id, Submission(agent, given, **more)).job.id

    def job(self, job_id: UUID) -> JobRow:
        with self.desk.doors.as_tenant(self.tenant_id) as tx:
            return jobs.read(tx, job_id)

    def steps(self, job_id: UUID) -> list[CheckpointRow]:
        with self.desk.doors.as_tenant(self.tenant_id) as tx:
            return checkpoints.list_of(tx, job_id)

    def events(self, job_id: UUID) -> list[EventRow]:
        with self.desk.doors.as_tenant(self.tenant_id) as tx:
            return events.list_after(tx, job_id, 0)

    def artifacts(self, job_id: UUID) -> list[tuple[ArtifactRow, bytes]]:
        with self.desk.doors.as_tenant(self.tenant_id) as tx:
            rows = artifacts.list_of(tx, job_id)
            return [(row, b"".join(artifacts.stream(tx, row.id))) for row in rows]

    def wait_for_end(self, job_id: UUID, timeout_s: float = 30.0) -> JobRow:
        eventually(lambda: self.job(job_id).status.is_ended, timeout_s)
        return self.job(job_id)

    def check_history(self, job_id: UUID) -> None:
        """The laws of a finished job: no gap, one commit a step, one ending, nothing after."""
        job, steps, told = self.job(job_id), self.steps(job_id), self.events(job_id)
        assert [event.id for event in told] == list(range(1, job.event_seq + 1))
        assert [step.seq for step in steps] == list(range(1, len(steps) + 1))
        completed = [event.data["seq"] for event in told if event.type == "step.completed"]
        assert sorted(completed) == [s.seq for s in steps if s.state.value == "committed"]
        assert told[-1].type == f"job.{job.status.value}"
        assert sum(event.type == told[-1].type for event in told) == 1
        assert job.outstanding == 0

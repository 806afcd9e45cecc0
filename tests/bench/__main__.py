"""`make bench`: one table, and the same figures in .stepwell/bench.json.

Every figure is taken in this run, on private servers that nobody else uses: compare them with each
other, not with another machine's. A step here does nothing, so what is measured is what Stepwell
adds to the work itself. One worker process runs at a time, as one Celery worker does beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr
from redis import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from broker.embedded import PrivateValkey
from broker.settings import BrokerSettings
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.intake import Submission, submit
from jobs.settings import Settings
from store import checkpoints, due, migrate
from store.embedded import PrivatePostgres, _binary
from store.settings import StoreSettings
from store.states import JobStatus
from store.tenants import DEFAULT_TENANT
from tests.bench import history
from tests.bench.processes import resident_mb, running, until

CHAINS = 16
BARE_HOPS = 150
STEPS = 100
CALLS, CALL_S = 1000, 5.0
PATIENCE_S = 120.0
PAST_JOBS = 100_000
RETIRED_S, RETIRE_BATCH = 5.0, 100

ENDED = text("select status from stepwell.jobs where id = any(:ids) and finished_at is not null")

console = Console(stderr=True)


class Bench:
    """Private servers, and the measurements on them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres = PrivatePostgres(home)
        self.redis = PrivateValkey(home)

    @contextmanager
    def open(self) -> Iterator[None]:
        with self.postgres, self.redis:
            migrate.upgrade(
                self.postgres.admin_url, self.postgres.runtime_url, self.postgres.operator_url
            )
            yield

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STEPWELL_DATABASE_URL": self.postgres.runtime_url,
            "STEPWELL_OPERATOR_DATABASE_URL": self.postgres.operator_url,
            "STEPWELL_REDIS_URL": self.redis.url,
            "STEPWELL_AGENTS": "tests.bench.programs",
            "STEPWELL_HOME": str(self.home),
        }

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        opened = Desk.open(
            Settings(agents="tests.bench.programs", home=self.home),
            StoreSettings(
                database_url=SecretStr(self.postgres.runtime_url),
                operator_database_url=SecretStr(self.postgres.operator_url),
            ),
            BrokerSettings(redis_url=SecretStr(self.redis.url)),
        )
        yield opened
        opened.close()

    @contextmanager
    def platform(
        self, name: str, slots: int = 200, **more: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One worker and one scheduler."""
        environment = {**self.environment, **more}
        with (
            running(
                f"scheduler-{name}", ["-m", "scheduler"], self.home, environment, "scheduler ready"
            ),
            running(
                f"worker-{name}",
                ["-m", "jobs.worker", "--work", "waits", "--slots", str(slots)],
                self.home,
                environment,
                "worker ready",
            ) as worker,
        ):
            yield worker

    # --- what is measured -------------------------------------------------------------------------

    def pg_commits_per_s(self) -> float:
        """Single-row commits by eight connections, with the server's own benchmark program."""
        script = self.home / "commit.sql"
        script.write_text("insert into single_row (n) values (1);\n")
        pgbench = str(_binary("pgbench"))
        self._admin("create table if not exists single_row (n int)")
        done = subprocess.run(
            [
                *(pgbench, "-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", "4"),
                *("-f", str(script), "-d", self.postgres.admin_url),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = [each for each in done.stdout.splitlines() if each.startswith("tps")]
        return float(line.split()[2])

    def bare_hops_per_s(self, *, is_tuned: bool) -> float:
        """A Celery task that sends the next one, in chains, through the same Redis."""
        environment = {
            "BARE_REDIS_URL": self.redis.url,
            "BARE_TUNED": "yes" if is_tuned else "no",
        }
        os.environ.update(environment)
        command = ["-m", "celery", "-A", "tests.bench.bare:app", "worker", "-P", "threads"]
        command += ["-c", "200", "--without-gossip", "--without-mingle", "-l", "INFO"]
        with running("bare", command, self.home, environment, " ready."):
            from tests.bench.bare import hop

            with Redis.from_url(self.redis.url) as client:
                client.delete("bare.done")
                began = time.perf_counter()
                for _ in range(CHAINS):
                    hop.delay(BARE_HOPS)
                until(lambda: int(client.get("bare.done") or 0) == CHAINS, PATIENCE_S, "bare hops")
                took_s = time.perf_counter() - began
                client.flushall()
        return CHAINS * (BARE_HOPS + 1) / took_s

    def steps_per_s(self, name: str, rounds: int, **more: str) -> float:
        """Steps of short pipelines, many at once; the median of the rounds after a first one."""
        rates = []
        with self.platform(name, **more), self.desk() as desk:
            for _ in range(rounds + 1):
                began = time.perf_counter()
                self._finish(desk, [self._submit(desk, "short") for _ in range(CHAINS)])
                rates.append(CHAINS * STEPS / (time.perf_counter() - began))
        return statistics.median(rates[1:])

    def overhead_ms(self) -> tuple[float, float]:
        """Milliseconds between two commits around step 10 and around step 1,000 of a job."""
        early, late = [], []
        with self.platform("overhead"), self.desk() as desk:
            for _ in range(9):
                job_id = self._submit(desk, "long")
                self._finish(desk, [job_id])
                with desk.doors.as_tenant(DEFAULT_TENANT) as tx:
                    rows = checkpoints.list_of(tx, job_id, limit=2000)
                at = [row.committed_at for row in rows if row.committed_at]
                gaps = [(b - a).total_seconds() * 1000 for a, b in pairwise(at)]
                early += gaps[4:15]
                late += gaps[994:1005]
        return statistics.median(early), statistics.median(late)

    def inflight(self) -> tuple[float, float]:
        """Seconds for 1,000 calls of 5 seconds in one worker process, and its memory in MB."""
        provider = ["-m", "tests.provider", "--takes-s", str(CALL_S)]
        with running("provider", provider, self.home, {}, "http://"):
            base_url = (self.home / "provider.log").read_text().split()[0]
            more = {"STEPWELL_MODEL_BASE_URL": base_url, "STEPWELL_LANE_DEPTH_MAX": "2000"}
            with self.platform("inflight", CALLS, **more) as worker, self.desk() as desk:
                began = time.perf_counter()
                self._finish(desk, [self._submit(desk, "caller") for _ in range(CALLS)])
                return time.perf_counter() - began, resident_mb(worker.pid)

    def retired_per_s(self) -> float:
        """Ended jobs of ten steps that retention forgets in a second, a batch at a time."""
        with self.desk() as desk:
            gone, began = 0, time.perf_counter()
            while time.perf_counter() - began < RETIRED_S:
                with desk.doors.as_operator("bench") as tx:
                    gone += due.retire_jobs(
                        tx, kept_s=86_400.0, letters_kept_s=86_400.0, limit=RETIRE_BATCH
                    )
            return gone / (time.perf_counter() - began)

    # --- small things -----------------------------------------------------------------------------

    def _submit(self, desk: Desk, name: str) -> UUID:
        return submit(desk, DEFAULT_TENANT, Submission(name, {"ask": "x"})).job.id

    def _finish(self, desk: Desk, job_ids: list[UUID]) -> None:
        def all_done() -> bool:
            # One look at all of them: whoever measures must not be part of the load.
            with desk.doors.as_tenant(DEFAULT_TENANT) as tx:
                ended = tx.execute(ENDED, {"ids": job_ids}).scalars().all()
            if set(ended) - {JobStatus.COMPLETED.value}:
                raise RuntimeError(f"jobs ended as {set(ended)}")
            return len(ended) == len(job_ids)

        until(all_done, PATIENCE_S, "jobs to end")

    def _admin(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            connection.execute(statement.encode())


def measure(bench: Bench) -> dict[str, float]:
    """Every figure, one after another."""
    figures: dict[str, float] = {}

    def note(what: str, take: Callable[[], float]) -> None:
        with console.status(what):
            figures[what] = round(take(), 3)

    note("pg_commits_per_s", bench.pg_commits_per_s)
    note("bare_celery_hops_per_s", lambda: bench.bare_hops_per_s(is_tuned=False))
    note("tuned_celery_hops_per_s", lambda: bench.bare_hops_per_s(is_tuned=True))
    note("durable_steps_per_s", lambda: bench.steps_per_s("quantum", 9))
    note("strict_steps_per_s", lambda: bench.steps_per_s("strict", 5, STEPWELL_QUANTUM_MS="0"))
    with console.status("overhead"):
        early, late = bench.overhead_ms()
    figures |= {"overhead_ms_seq10": round(early, 3), "overhead_ms_seq1000": round(late, 3)}
    with console.status(f"a past of {PAST_JOBS:,} jobs"):
        history.put_down(bench.postgres.admin_url, PAST_JOBS)
    note("durable_steps_per_s_with_a_past", lambda: bench.steps_per_s("past", 9))
    note("jobs_retired_per_s", bench.retired_per_s)
    with console.status("in flight"):
        makespan_s, rss_mb = bench.inflight()
    figures |= {"inflight_makespan_s": round(makespan_s, 2), "inflight_rss_mb": round(rss_mb, 1)}
    return figures


ROWS = {
    "durable_steps_per_s": "durable steps, default quantum (/s)",
    "strict_steps_per_s": "durable steps, one Celery task each (/s)",
    "bare_celery_hops_per_s": "bare Celery hops, stock transport, late acks (/s)",
    "tuned_celery_hops_per_s": "bare Celery hops, our transport settings (/s)",
    "pg_commits_per_s": "single-row commits of this Postgres (/s)",
    "overhead_ms_seq10": "between two steps, around step 10 (ms)",
    "overhead_ms_seq1000": "between two steps, around step 1,000 (ms)",
    "durable_steps_per_s_with_a_past": f"the same, after {PAST_JOBS * 10:,} old steps (/s)",
    "jobs_retired_per_s": "old jobs of 10 steps that retention forgets (/s)",
    "inflight_makespan_s": f"{CALLS:,} calls of {CALL_S:.0f} s in one worker (s)",
    "inflight_rss_mb": "the memory of that worker (MB)",
}


def show(figures: dict[str, float]) -> None:
    """The table people read."""
    table = Table(title="Stepwell, measured here and now", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for key, what in ROWS.items():
        table.add_row(
            what, f"{figures[key]:,.2f}" if figures[key] < 100 else f"{figures[key]:,.0f}"
        )
    Console().print(table)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="sw-bench-"))
    try:
        bench = Bench(folder)
        with bench.open():
            figures = measure(bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)
    kept = Path(".stepwell/bench.json")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nThe same figures: {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

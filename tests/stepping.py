"""A job and a worker without any process: put rows down, take steps through the store by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import text
from uuid_utils.compat import uuid7

from store import checkpoints, events, jobs, transitions, workers
from store.doors import Doors
from store.jobs import NewJob
from store.rows import CheckpointRow, JobRow
from store.states import JobClass, JobStatus, StepKind, StepState, Work
from store.transitions import Claim, Ending, Plan, Settled, Settlement

MODEL = Plan(StepKind.MODEL, "model.test", Work.WAITS)
COMPLETED = Ending(JobStatus.COMPLETED, output={"answer": 42})


def call(n: int) -> Plan:
    """The n-th of a few tool calls."""
    return Plan(StepKind.TOOL, "tool.test", Work.WAITS, {"tool": "test", "n": n})


class Stepper:
    """One tenant of one database, moved by hand."""

    def __init__(self, doors: Doors, tenant_id: UUID) -> None:
        self.doors = doors
        self.tenant_id = tenant_id

    def start_worker(self, *, slots: int = 1) -> UUID:
        worker_id = uuid7()
        with self.doors.as_nobody() as tx:
            workers.register(
                tx, worker_id, name="by hand", work=Work.WAITS, slots=slots, version="0"
            )
        return worker_id

    def put_down(
        self,
        steps: Iterable[Plan] = (MODEL,),
        *,
        job_class: JobClass = JobClass.DEFAULT,
        key: str | None = None,
        is_rung: bool = False,
        input: dict[str, Any] | None = None,  # noqa: A002 - the name of the column
    ) -> UUID:
        """A queued job with these first steps."""
        job_id = uuid7()
        new = NewJob(
            tenant_id=self.tenant_id,
            id=job_id,
            agent="test",
            agent_version="1",
            model=None,
            job_class=job_class,
            origin="api",
            input=input or {},
            idempotency_key=key,
            request_sha256="same",
            first_steps=tuple(steps),
            is_rung=is_rung,
        )
        with self.doors.as_tenant(self.tenant_id) as tx:
            assert jobs.create(tx, new) is not None
        return job_id

    def claim(
        self, job_id: UUID, seq: int, worker_id: UUID, *, is_told: bool = True
    ) -> Claim | None:
        with self.doors.hot() as connection:
            return transitions.claim(
                connection, self.tenant_id, job_id, seq, worker_id, is_told=is_told
            )

    def take(self, job_id: UUID, seq: int, worker_id: UUID, *, is_told: bool = True) -> Claim:
        """A claim that has to succeed."""
        held = self.claim(job_id, seq, worker_id, is_told=is_told)
        assert held is not None
        return held

    def commit(self, held: Claim, **settlement: Any) -> Settled | None:
        told = {"state": StepState.COMMITTED, "event": {"seq": held.seq}} | settlement
        with self.doors.hot() as connection:
            return transitions.commit(connection, held, Settlement(**told))

    def join(self, held: Claim) -> Settled | None:
        """Commit a tool call that plans the next model step once its siblings are in."""
        return self.commit(held, plan=(MODEL,), is_joining=True)

    def release(self, held: Claim, *, delay_s: float = 0.0, is_failed_try: bool = True) -> bool:
        with self.doors.hot() as connection:
            return transitions.release(
                connection,
                held,
                delay_s=delay_s,
                is_failed_try=is_failed_try,
                reason="retry_scheduled",
                error={"class": "transient"} if is_failed_try else None,
            )

    def cancel(self, job_id: UUID) -> JobRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return jobs.request_cancel(tx, job_id)

    def job(self, job_id: UUID) -> JobRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return jobs.read(tx, job_id)

    def steps(self, job_id: UUID) -> list[CheckpointRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return checkpoints.list_of(tx, job_id)

    def step(self, job_id: UUID, seq: int) -> CheckpointRow:
        return self.steps(job_id)[seq - 1]

    def states(self, job_id: UUID) -> list[StepState]:
        return [step.state for step in self.steps(job_id)]

    def story(self, job_id: UUID) -> list[str]:
        """The types of the job's events, after checking that their numbers have no gap."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            told = events.list_after(tx, job_id, 0)
        assert [event.id for event in told] == list(range(1, len(told) + 1))
        assert self.job(job_id).event_seq == len(told)
        return [event.type for event in told]

    def check_books(self, job_id: UUID) -> None:
        """What every transition has to leave true of a job and its steps."""
        job, steps = self.job(job_id), self.steps(job_id)
        unsettled = [s for s in steps if s.state in (StepState.READY, StepState.RUNNING)]
        assert job.outstanding == len(unsettled)
        assert job.next_seq == len(steps) + 1
        assert [step.seq for step in steps] == list(range(1, len(steps) + 1))
        assert (job.finished_at is not None) is job.status.is_ended
        if not job.status.is_ended:
            assert unsettled, "a job that is not over has something to do"
        else:
            assert StepState.READY not in [step.state for step in steps]
        self.story(job_id)

    def grow_old(self, worker_id: UUID, age_s: float) -> None:
        """Set a worker's last beat back, instead of waiting for it to grow old."""
        with self.doors.as_operator("test") as tx:
            tx.execute(
                text(
                    "update stepwell.workers set beaten_at = beaten_at - make_interval(secs => :s)"
                    " where id = :id"
                ),
                {"s": age_s, "id": worker_id},
            )

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the tables a step touches, whole: to see that nothing was written."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        with self.doors.as_operator("test") as tx:
            for table in ("jobs", "checkpoints", "events", "usage"):
                rows = tx.execute(text(f"select t::text, xmin::text from stepwell.{table} t"))
                found[table] = sorted(tuple(row) for row in rows)
        return found

"""A job and a worker without any process: put rows down, take steps through the store by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from uuid_utils.compat import uuid7

from scheduler.waking import wake
from store import checkpoints, due, events, forks, jobs, letters, transitions, waits, workers
from store.doors import Doors
from store.forks import Forked
from store.jobs import NewJob
from store.letters import Replayed
from store.rows import CheckpointRow, JobRow, LetterRow, WaitRow
from store.states import (
    JobClass,
    JobStatus,
    Origin,
    StepKind,
    StepState,
    WaitKind,
    WaitState,
    Work,
)
from store.transitions import (
    Claim,
    Ending,
    NewChild,
    Parked,
    Plan,
    Settled,
    Settlement,
    Start,
    Wait,
)
from store.waits import Answered, Sent

MODEL = Plan(StepKind.MODEL, "model.test", Work.WAITS)
COMPLETED = Ending(JobStatus.COMPLETED, output={"answer": 42})
ERROR = {"class": "bug", "message": "It broke.", "hint": "Mend it."}
FAILED = Ending(JobStatus.FAILED, error=ERROR, reason="bug")
QUESTION = Wait(WaitKind.QUESTION, "question", prompt={"ask": "Shall I?"})
OPERATOR = frozenset({"operator"})
ASKED_OF_PEOPLE = ("question", "reconcile", "review", "approval")
OPEN = (StepState.READY, StepState.RUNNING, StepState.WAITING)


def call(n: int) -> Plan:
    """The n-th of a few tool calls."""
    return Plan(StepKind.TOOL, "tool.test", Work.WAITS, {"tool": "test", "n": n})


def timer(wake_in_s: float = 60.0) -> Wait:
    """A nap, after which the step is worth "rested"."""
    return Wait(WaitKind.TIMER, "sleep", wake_in_s=wake_in_s, fallback={"value": "rested"})


def signal(name: str = "paid", **more: Any) -> Wait:
    return Wait(WaitKind.SIGNAL, name, **more)


def child(*steps: Plan, agent: str = "test", deadline_in_s: float | None = None) -> NewChild:
    """A job to ask for, with these first steps or one."""
    return NewChild(uuid7(), agent, "1", {"of": "parent"}, steps or (MODEL,), deadline_in_s)


def delegate(*children: NewChild) -> Wait:
    return Wait(WaitKind.CHILDREN, "children", children=children)


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
        deadline_in_s: float | None = None,
        agent: str = "test",
    ) -> UUID:
        """A queued job with these first steps."""
        job_id = uuid7()
        new = NewJob(
            tenant_id=self.tenant_id,
            id=job_id,
            agent=agent,
            agent_version="1",
            model=None,
            job_class=job_class,
            origin=Origin.API,
            input=input or {},
            idempotency_key=key,
            request_sha256="same",
            first_steps=tuple(steps),
            is_rung=is_rung,
            deadline_in_s=deadline_in_s,
        )
        with self.doors.as_tenant(self.tenant_id) as tx:
            assert jobs.create(tx, new) is not None
        return job_id

    # --- the moves of a worker --------------------------------------------------------------------

    def claim(
        self, job_id: UUID, seq: int, worker_id: UUID, *, is_told: bool = True
    ) -> Claim | None:
        with self.doors.hot() as connection:
            return transitions.claim(
                connection, self.tenant_id, job_id, seq, worker_id, is_told=is_told
            )

    def take(
        self, job_id: UUID, seq: int = 1, worker_id: UUID | None = None, *, is_told: bool = True
    ) -> Claim:
        """A claim that has to succeed; by a new worker when none is named."""
        held = self.claim(job_id, seq, worker_id or self.start_worker(), is_told=is_told)
        assert held is not None
        return held

    def commit(self, held: Claim, **settlement: Any) -> Settled | None:
        told = {"state": StepState.COMMITTED, "event": {"seq": held.seq}} | settlement
        with self.doors.hot() as connection:
            return transitions.commit(connection, held, Settlement(**told))

    def join(self, held: Claim) -> Settled | None:
        """Commit a tool call that plans the next model step once its siblings are in."""
        return self.commit(held, plan=(MODEL,), is_joining=True)

    def fail(self, held: Claim, error: dict[str, Any] | None = None) -> Settled | None:
        """End the job by this step's failure."""
        error = error or ERROR
        ending = Ending(JobStatus.FAILED, error=error, reason=error["class"])
        return self.commit(held, state=StepState.FAILED, error=error, ending=ending)

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

    def start_effect(self, held: Claim) -> Start | None:
        with self.doors.hot() as connection:
            return transitions.start_effect(connection, held)

    def park(
        self,
        held: Claim,
        wait: Wait,
        *,
        depth_max: int = 5,
        descendants_max: int = 50,
        children_max: int = 50,
    ) -> Parked | None:
        with self.doors.hot() as connection:
            return transitions.park(
                connection,
                held,
                wait,
                depth_max=depth_max,
                descendants_max=descendants_max,
                children_max=children_max,
            )

    def put_to_sleep(self, wait: Wait, **job: Any) -> UUID:
        """A job whose only step is parked on this."""
        job_id = self.put_down([call(1)], **job)
        assert self.park(self.take(job_id), wait) is Parked.PARKED
        return job_id

    def bear(self, *children: NewChild, **job: Any) -> UUID:
        """A job whose only step is parked on these children."""
        return self.put_to_sleep(delegate(*children), **job)

    def tell_parent(self, child_id: UUID) -> tuple[UUID, int] | None:
        """The parent's step that was woken, as (job, step)."""
        with self.doors.hot() as connection:
            told = transitions.tell_parent(connection, self.tenant_id, child_id)
        return None if told is None else told[:2]

    def lose(self, worker_id: UUID, lease_s: float = 4.0) -> None:
        """Find a worker dead, and free what it held."""
        self.grow_old(worker_id, lease_s + 1)
        with self.doors.as_operator("test") as tx:
            due.recover_lost(tx, lease_s)

    # --- the moves of people, other systems and the clock -----------------------------------------

    def cancel(self, job_id: UUID) -> JobRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return jobs.request_cancel(tx, job_id)

    def answer(
        self,
        job_id: UUID,
        said: Any,
        *,
        seq: int = 1,
        n: int = 1,
        by: str = "ann",
        roles: frozenset[str] = OPERATOR,
    ) -> Answered:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return waits.answer(tx, self.tenant_id, job_id, seq, n, said, by=by, roles=roles)

    def send(
        self, job_id: UUID, payload: Any = None, *, name: str = "paid", key: str | None = None
    ) -> Sent:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return waits.send_signal(tx, self.tenant_id, job_id, name, payload, key=key)

    def fork(self, job_id: UUID, from_seq: int, **more: Any) -> tuple[Forked, UUID]:
        told = {"version": None} | more
        with self.doors.as_tenant(self.tenant_id) as tx:
            return forks.fork(tx, self.tenant_id, job_id, from_seq=from_seq, **told)

    def replay(self, job_id: UUID, **more: Any) -> tuple[Replayed, UUID]:
        told = {"version": None, "by": "ann"} | more
        with self.doors.as_tenant(self.tenant_id) as tx:
            return letters.replay(tx, self.tenant_id, job_id, **told)

    def wake(self) -> int:
        """One round of the scheduler."""
        return wake(self.doors)

    def grow_old(self, worker_id: UUID, age_s: float) -> None:
        """Set a worker's last beat back, instead of waiting for it to grow old."""
        self.set_back("workers", "beaten_at", age_s, id=worker_id)

    def pass_deadline(self, job_id: UUID) -> None:
        """Let the job's deadline have been a second ago."""
        self.set_back("jobs", "deadline_at", None, id=job_id)

    def come_due(self, job_id: UUID) -> None:
        """Let the open waits of the job have come to their time a second ago."""
        self.set_back("waits", "wake_at", None, job_id=job_id, state="pending")

    def set_back(self, table: str, column: str, by_s: float | None, **where: Any) -> None:
        """Move a moment back by so many seconds, or to a second ago if it was not before."""
        a_second_ago = f"least({column}, now() - interval '1 second')"
        value = a_second_ago if by_s is None else f"{column} - :by * interval '1 s'"
        which = " and ".join(f"{name} = :{name}" for name in where)
        with self.doors.as_operator("test") as tx:
            tx.execute(
                text(f"update stepwell.{table} set {column} = {value} where {which}"),
                where | {"by": by_s},
            )

    @contextmanager
    def held_by_another(self, table: str, where: str, **given: Any) -> Iterator[Connection]:
        """Keep rows locked in a transaction of somebody else while the block lasts."""
        with self.doors.as_operator("somebody else") as tx:
            found = tx.execute(
                text(f"select 1 from stepwell.{table} where {where} for no key update"), given
            ).all()
            assert found, "there is nothing to hold"
            yield tx

    # --- looking ----------------------------------------------------------------------------------

    def job(self, job_id: UUID) -> JobRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return jobs.read(tx, job_id)

    def children(self, job_id: UUID) -> list[JobRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return jobs.list_children(tx, job_id)

    def steps(self, job_id: UUID) -> list[CheckpointRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return checkpoints.list_of(tx, job_id)

    def step(self, job_id: UUID, seq: int = 1) -> CheckpointRow:
        return self.steps(job_id)[seq - 1]

    def states(self, job_id: UUID) -> list[StepState]:
        return [step.state for step in self.steps(job_id)]

    def waits(self, job_id: UUID) -> list[WaitRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return waits.list_of(tx, job_id)

    def wait(self, job_id: UUID) -> WaitRow:
        """The only wait of a job."""
        (found,) = self.waits(job_id)
        return found

    def letter(self, job_id: UUID) -> LetterRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return letters.read(tx, job_id)

    def signals(self, job_id: UUID) -> list[tuple[Any, int | None, int | None]]:
        """(payload, step, wait) of every signal, in the order in which they were sent."""
        with self.doors.as_operator("test") as tx:
            rows = tx.execute(
                text(
                    "select payload, consumed_seq, consumed_n from stepwell.signals "
                    "where job_id = :job order by sent_at, id"
                ),
                {"job": job_id},
            )
            return [(row.payload, row.consumed_seq, row.consumed_n) for row in rows]

    def story(self, job_id: UUID) -> list[str]:
        """The types of the job's events, after checking that their numbers have no gap."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            told = events.list_after(tx, job_id, 0)
        assert [event.id for event in told] == list(range(1, len(told) + 1))
        assert self.job(job_id).event_seq == len(told)
        return [event.type for event in told]

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the tables a step touches, whole: to see that nothing was written."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        tables = ("jobs", "checkpoints", "events", "usage", "waits", "signals", "dead_letters")
        with self.doors.as_operator("test") as tx:
            for table in tables:
                rows = tx.execute(text(f"select t::text, xmin::text from stepwell.{table} t"))
                found[table] = sorted(tuple(row) for row in rows)
        return found

    # --- the books --------------------------------------------------------------------------------

    def check_books(self, job_id: UUID) -> None:
        """What every transition has to leave true of a job, its steps, waits and signals."""
        job, steps = self.job(job_id), self.steps(job_id)
        unsettled = [step for step in steps if step.state in OPEN]
        assert job.outstanding == len(unsettled)
        assert job.next_seq == len(steps) + 1
        assert [step.seq for step in steps] == list(range(1, len(steps) + 1))
        assert (job.finished_at is not None) is job.status.is_ended
        if not job.status.is_ended:
            assert unsettled, "a job that is not over has something to do"
        else:
            assert {step.state for step in unsettled} <= {StepState.RUNNING}
            assert (job.waiting_for, job.status_until) == (None, None)
        assert job.children == len(self.children(job_id))
        self.check_waits(job_id)
        self.check_signals(job_id)
        self.story(job_id)

    def check_waits(self, job_id: UUID) -> None:
        """One open wait for every parked step, which holds nothing, and for no other."""
        job, steps, waits = self.job(job_id), self.steps(job_id), self.waits(job_id)
        parked = [step for step in steps if step.state is StepState.WAITING]
        pending = [wait for wait in waits if wait.state is WaitState.PENDING]
        assert [wait.seq for wait in pending] == [step.seq for step in parked]
        assert all(step.worker_id is None for step in parked)
        is_asking = any(wait.kind in ASKED_OF_PEOPLE for wait in pending)
        if job.status is JobStatus.INPUT_REQUIRED:
            assert is_asking
            assert len(parked) == job.outstanding
        elif parked and len(parked) == job.outstanding:
            assert (job.status, is_asking) == (JobStatus.QUEUED, False)
            assert job.status_reason in {wait.kind.value for wait in pending}
        assert (job.waiting_for is not None) is (job.status is JobStatus.INPUT_REQUIRED)
        for step in steps:
            mine = [wait for wait in waits if wait.seq == step.seq]
            assert [wait.n for wait in mine] == list(range(1, len(mine) + 1))
            if step.state is StepState.COMMITTED:
                assert all(w.consumed_at or w.state is WaitState.CANCELLED for w in mine)
            assert all(wait.consumed_at for wait in mine[:-1])

    def check_signals(self, job_id: UUID) -> None:
        """A signal was taken by one wait that it answered, or is unread and nobody waits for it."""
        answered = {
            (wait.seq, wait.n): wait.result
            for wait in self.waits(job_id)
            if wait.kind is WaitKind.SIGNAL and wait.state is WaitState.ANSWERED
        }
        told = self.signals(job_id)
        taken = {(seq, n): payload for payload, seq, n in told if seq is not None}
        assert taken == answered
        assert len(taken) == sum(seq is not None for _, seq, _ in told)

"""A stage: workers without processes play a scene on a database, and what they are told is kept.

Whatever the store accepts (a commit, a signal, an answer) is remembered, whether or not it should
have been: the checker compares it with what is there. The world outside is a ledger, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from uuid_utils.compat import uuid7

from store import due, forks, jobs, letters, tenants, transitions, waits, workers
from store.doors import Doors
from store.jobs import NewJob
from store.rows import WaitRow
from store.schedules import Move
from store.states import (
    JobClass,
    JobStatus,
    Origin,
    Overlap,
    StepKind,
    StepState,
    WaitKind,
    WaitState,
    Work,
    WorkerState,
)
from store.tenants import DEFAULT_TENANT
from store.transitions import Claim, Ending, NewChild, Parked, Plan, Start, Usage, Wait
from tests.asking import Asker
from tests.conftest import Database
from tests.faults.cases import Terms, Told
from tests.faults.facts import Answered, Asked, Outcome, Sent, WorldFacts
from tests.faults.ledger import note_effect
from tests.running import eventually
from tests.stepping import OPERATOR, Stepper
from tests.ticking import HOUR_S, Clockwork

NEIGHBOUR = UUID("00000000-0000-4000-8000-000000000002")
LEASE_S = 4.0
DEPTH_MAX, DESCENDANTS_MAX = 5, 100
STEPS_MAX = 20
WORK = Plan(StepKind.FUNCTION, "work", Work.WAITS)
ASK_MODEL = Plan(StepKind.MODEL, "model.test", Work.WAITS)
DONE = {"answer": 42}
FAILURE = {"class": "bug", "message": "it broke", "hint": "look at it"}


def call(n: int) -> Plan:
    """The n-th of a few parallel calls."""
    return Plan(StepKind.TOOL, "tool.test", Work.WAITS, {"tool": "test", "args": {"n": n}})


class Stage:
    """One database, two tenants, and as many workers as a scene wants."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.doors = Doors(database.settings)
        self.stepper = Stepper(self.doors, DEFAULT_TENANT)
        self.asker = Asker(self.doors, DEFAULT_TENANT)
        self.told: list[Told] = []
        self.facts = WorldFacts(
            admin_url=database.admin_url,
            operator_url=database.operator_url,
            ledger=folder / "ledger",
            claims=folder / "claims",
            tenants=(DEFAULT_TENANT, NEIGHBOUR),
        )
        with self.doors.as_operator("test") as tx:
            tenants.ensure(tx, NEIGHBOUR, "neighbour")

    def terms(self, database: Database) -> Terms:
        return Terms(lease_s=LEASE_S, runtime_url=database.runtime_url, told=tuple(self.told))

    def close(self) -> None:
        self.doors.close()

    # -- jobs -------------------------------------------------------------------------------

    def put_down(
        self,
        *steps: Plan,
        outcome: Outcome | tuple[Outcome, ...] = "completed",
        is_rung: bool = False,
        deadline_in_s: float | None = None,
        tenant_id: UUID = DEFAULT_TENANT,
    ) -> UUID:
        """A job that is to complete with DONE, or to end otherwise."""
        job_id, outcomes = uuid7(), (outcome,) if isinstance(outcome, str) else outcome
        new = NewJob(
            tenant_id=tenant_id,
            id=job_id,
            agent="test",
            agent_version="1",
            model=None,
            job_class=JobClass.DEFAULT,
            origin=Origin.API,
            input={},
            idempotency_key=None,
            request_sha256=None,
            first_steps=steps or (WORK,),
            is_rung=is_rung,
            deadline_in_s=deadline_in_s,
        )
        with self.doors.as_tenant(tenant_id) as tx:
            jobs.create(tx, new)
        self.facts.asked.append(Asked(tenant_id, job_id, "test", {}, DONE, outcomes))
        return job_id

    def finish(self, job_id: UUID) -> None:
        """Let a good worker do all that can be claimed; the last step completes the job."""
        worker = self.hire()
        for _ in range(STEPS_MAX):
            steps = self.stepper.steps(job_id)
            open_steps = [step for step in steps if step.committed_at is None]
            ready = [step for step in open_steps if step.state is StepState.READY]
            held = self.claim(job_id, ready[0].seq, worker) if ready else None
            if held is None:
                return
            output = "done" if held.woken is None else held.woken.result
            self.commit(held, output, ends=len(open_steps) == 1)

    # -- workers ----------------------------------------------------------------------------

    def hire(self) -> UUID:
        return self.stepper.start_worker()

    def lose(self, worker_id: UUID) -> None:
        """The worker falls silent, and its steps are taken from it."""
        self.stepper.grow_old(worker_id, LEASE_S + 1)
        self.recover()

    def leave(self, worker_id: UUID) -> None:
        """The worker says goodbye, whatever it still has in its hands."""
        with self.doors.as_nobody() as tx:
            workers.move(tx, worker_id, WorkerState.STOPPED)

    def recover(self) -> None:
        with self.doors.as_operator("test") as tx:
            due.recover_lost(tx, LEASE_S)

    # -- steps ------------------------------------------------------------------------------

    def claim(self, job_id: UUID, seq: int, worker_id: UUID) -> Claim | None:
        return self.stepper.claim(job_id, seq, worker_id)

    def take(self, job_id: UUID, seq: int = 1) -> Claim:
        """A claim by a new worker; it has to succeed."""
        return self.stepper.take(job_id, seq, self.hire())

    def commit(
        self,
        held: Claim,
        output: Any,
        *,
        ends: bool = False,
        plan: tuple[Plan, ...] = (),
        **settlement: Any,
    ) -> bool:
        if held.kind is StepKind.MODEL:
            settlement["usage"] = Usage("test", 1, 10, 10)
        if ends:
            settlement["ending"] = Ending(JobStatus.COMPLETED, output=DONE)
        settled = self.stepper.commit(held, output=output, plan=plan, **settlement)
        return self._hear(held, "committed", output, is_accepted=settled is not None)

    def fail(self, held: Claim) -> bool:
        """The step fails, and the job with it."""
        ending = Ending(JobStatus.FAILED, error=FAILURE, reason="bug")
        settled = self.stepper.commit(held, state=StepState.FAILED, error=FAILURE, ending=ending)
        return self._hear(held, "failed", is_accepted=settled is not None)

    def release(self, held: Claim) -> bool:
        is_accepted = self.stepper.release(held, is_failed_try=False)
        return self._hear(held, "ready", is_accepted=is_accepted)

    def park(self, held: Claim, kind: WaitKind, name: str = "", **more: Any) -> Parked | None:
        with self.doors.hot() as connection:
            parked = transitions.park(
                connection,
                held,
                Wait(kind, name or kind.value, **more),
                depth_max=DEPTH_MAX,
                descendants_max=DESCENDANTS_MAX,
            )
        self._hear(held, "waiting", is_accepted=parked in (Parked.PARKED, Parked.WOKEN))
        return parked

    def _hear(self, held: Claim, became: str, output: Any = None, *, is_accepted: bool) -> bool:
        if is_accepted:
            self.told.append(Told(held.job_id, held.seq, held.epoch, became, output))
        return is_accepted

    # -- the world outside ------------------------------------------------------------------

    def charge(self, held: Claim) -> bool:
        """Take money, if the store lets it; False when it does not."""
        with self.doors.hot() as connection:
            if transitions.start_effect(connection, held) is not Start.GO:
                return False
        for phase in ("begin", "end"):
            note_effect(
                self.facts.ledger,
                phase,
                key=held.key,
                job_id=held.job_id,
                seq=held.seq,
                tenant_id=held.tenant_id,
                tool="charge",
                idempotency="none",
                args=None if held.granted is None else held.granted.args,
            )
        return True

    def charge_with_care(self, held: Claim) -> bool:
        """What a worker does with a call that must not happen twice; whether it has charged."""
        woken = held.woken
        if woken is None and held.effect_epoch is not None:
            self.park(held, WaitKind.RECONCILE, prompt={"key": held.key})
            return False
        if woken is not None and woken.result == {"decision": "happened"}:
            self.commit(held, "charged", ends=True)
            return False
        return self.charge(held)

    def send(
        self,
        job_id: UUID,
        name: str,
        payload: Any,
        tx: Any = None,
        tenant_id: UUID = DEFAULT_TENANT,
    ) -> None:
        """Send a signal, in a transaction of its own if none is given."""
        if tx is None:
            with self.doors.as_tenant(tenant_id) as own:
                self.send(job_id, name, payload, own, tenant_id)
            return
        key = uuid4()
        said = waits.send_signal(tx, tenant_id, job_id, name, payload, key=str(key))
        if said is waits.Sent.ACCEPTED:
            self.facts.sent.append(Sent(tenant_id, job_id, key, name, payload, monotonic()))

    def answer(self, job_id: UUID, said: Any, *, seq: int = 1, n: int = 1, by: str = "ann") -> None:
        with self.doors.as_tenant(DEFAULT_TENANT) as tx:
            heard = waits.answer(tx, DEFAULT_TENANT, job_id, seq, n, said, by=by, roles=OPERATOR)
        if heard is waits.Answered.ANSWERED:
            answered = Answered(DEFAULT_TENANT, job_id, seq, n, "question", said, monotonic())
            self.facts.answered.append(answered)

    # -- what is due ------------------------------------------------------------------------

    def wake_due(self) -> None:
        with self.doors.as_operator("test") as tx:
            due.wake_due(tx, limit=100)

    def wake(self, job_id: UUID) -> None:
        """What a scheduler does that has seen the job's timer due a moment ago."""
        with self.doors.as_tenant(DEFAULT_TENANT) as tx:
            tx.execute(
                text("select stepwell.wake_wait(:tenant, :job, 1, 1, :state, null, null)"),
                {"tenant": DEFAULT_TENANT, "job": job_id, "state": WaitState.FIRED.value},
            )

    def stop_stopping(self) -> None:
        """End the jobs that are to end and have nobody left to do it."""
        with self.doors.as_operator("test") as tx:
            for tenant_id, job_id in due.list_stopping(tx, limit=100):
                due.stop(tx, tenant_id, job_id)

    def tell_parents(self) -> None:
        with self.doors.as_operator("test") as tx:
            due.tell_parents(tx, limit=100)

    def ring_again(self) -> list[tuple[UUID, int]]:
        """The steps that a scheduler rings for, because nobody came when they were rung."""
        with self.doors.as_operator("test") as tx:
            found = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 100}, again_s=0.0)
        return [(step.job_id, step.seq) for step in found]

    def retire(self) -> None:
        with self.doors.as_operator("test") as tx:
            due.retire_jobs(tx, kept_s=0.0, letters_kept_s=0.0, limit=100)

    def replay(self, job_id: UUID) -> UUID:
        """A new job of the dead letter, which is to complete."""
        with self.doors.as_tenant(DEFAULT_TENANT) as tx:
            _, new_id = letters.replay(tx, DEFAULT_TENANT, job_id, version="1", by="ann")
        self.facts.asked.append(Asked(DEFAULT_TENANT, new_id, "test", {}, DONE))
        return new_id

    def fork(self, job_id: UUID, from_seq: int) -> UUID:
        """A new job that shares the steps before that one, and is to complete."""
        with self.doors.as_tenant(DEFAULT_TENANT) as tx:
            _, new_id = forks.fork(tx, DEFAULT_TENANT, job_id, from_seq=from_seq, version="1")
        self.facts.asked.append(Asked(DEFAULT_TENANT, new_id, "test", {}, DONE))
        return new_id

    # -- what is asked for again and again --------------------------------------------------

    def overdue(self, *, by_s: float = HOUR_S) -> tuple[UUID, Move]:
        """An hourly schedule of so long ago, and what a scheduler does that sees its first tick."""
        clockwork = Clockwork(self.doors, DEFAULT_TENANT)
        schedule_id = clockwork.put_down(f"of {uuid4()}", input={}, overlap=Overlap.ALLOW)
        clockwork.pass_by(schedule_id, by_s)
        tick_at = clockwork.row(schedule_id).next_tick_at
        assert tick_at is not None
        following = tick_at + timedelta(seconds=HOUR_S)
        return schedule_id, Move(tick_at, tick_at, following, following)

    def fire(self, schedule_id: UUID, move: Move) -> None:
        """What a scheduler does that has seen the tick due a moment ago; its jobs are done."""
        Clockwork(self.doors, DEFAULT_TENANT).fire(schedule_id, move)
        with self.doors.as_operator("test") as tx:
            found = tx.execute(
                text(
                    "select id from stepwell.jobs where origin = 'schedule' and finished_at is null"
                )
            )
            made = [row.id for row in found]
        for job_id in made:
            self.facts.asked.append(Asked(DEFAULT_TENANT, job_id, "test", {}, DONE))
            self.finish(job_id)

    # -- looking ----------------------------------------------------------------------------

    def waits(self, job_id: UUID) -> list[WaitRow]:
        with self.doors.as_tenant(DEFAULT_TENANT) as tx:
            return waits.list_of(tx, job_id)

    @contextmanager
    def meanwhile(self) -> Iterator[Callable[[Callable[[], Any]], None]]:
        """How to begin something in a thread, and go on when it is done or stuck at a lock."""
        with ThreadPoolExecutor(1) as threads:
            begun = []

            def begin(act: Callable[[], Any]) -> None:
                begun.append(threads.submit(act))
                eventually(lambda: begun[-1].done() or self._is_somebody_stuck())

            yield begin
            for each in begun:
                each.result()

    def _is_somebody_stuck(self) -> bool:
        with self.doors.as_operator("test") as tx:
            found = tx.execute(text("select count(*) from pg_locks where not granted"))
            return bool(found.scalar_one())


def child(n: int, *, deadline_in_s: float | None = None) -> NewChild:
    """The n-th of a few children, with one step."""
    return NewChild(uuid7(), "test", "1", {"n": n}, (WORK,), deadline_in_s)

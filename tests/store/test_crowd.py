"""A crowd on one job, and on a family of jobs: everybody at once, and nobody is in the way."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from sqlalchemy import select

from scheduler.reconcile import stop_due
from scheduler.waking import wake
from store import due, transitions, waits
from store.doors import Doors
from store.schema import checkpoints, signals
from store.states import JobClass, JobStatus, StepState, Work
from store.transitions import Claim
from store.waits import Answered, Sent
from tests.running import at_once
from tests.stepping import COMPLETED, QUESTION, Stepper, call, child, delegate, signal, timer

LEASE_S = 4.0
MOVES = 120

Act = Callable[[random.Random], None]


def call_all(seed: int, acts: list[Act]) -> None:
    """Let them act at once, each by draws of its own. What raises there, a deadlock too, fails."""
    draws = [random.Random(f"{seed}/{n}") for n in range(len(acts))]
    at_once([lambda a=act, d=draw: a(d) for act, draw in zip(acts, draws, strict=True)])


def walk_rounds(doors: Doors) -> None:
    """All that a scheduler does, once, but for Redis."""
    with doors.as_operator("test") as tx:
        due.recover_lost(tx, LEASE_S)
    with doors.as_operator("test") as tx:
        due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 10}, again_s=0.0)
    stop_due(doors)
    wake(doors)


@dataclass
class Crowd:
    """What each of them does to one job, as often as it likes."""

    stepper: Stepper
    job_id: UUID

    def work(self, draw: random.Random) -> None:
        worker = self.stepper.start_worker()
        for _ in range(MOVES):
            steps = self.stepper.steps(self.job_id)[-12:]
            ready = [step.seq for step in steps if step.state is StepState.READY]
            if not ready:
                continue
            is_told = draw.random() < 0.5
            held = self.stepper.claim(self.job_id, draw.choice(ready), worker, is_told=is_told)
            if held is None:
                worker = self.stepper.start_worker()
            elif draw.random() < 0.1:
                self.stepper.grow_old(worker, LEASE_S + 1)
            else:
                self.settle(held, draw)

    def settle(self, held: Claim, draw: random.Random) -> None:
        if draw.random() < 0.1:
            self.stepper.release(held, is_failed_try=draw.random() < 0.5)
        elif held.input is None:
            self.stepper.commit(held, plan=tuple(call(n) for n in range(draw.randint(1, 4))))
        else:
            self.stepper.join(held)

    def schedule(self, draw: random.Random) -> None:
        for _ in range(MOVES):
            walk_rounds(self.stepper.doors)

    def watch(self, draw: random.Random) -> None:
        for _ in range(MOVES):
            with self.stepper.doors.hot() as connection:
                transitions.tell(
                    connection, self.stepper.tenant_id, self.job_id, "job.progress", {}
                )


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_on_one_job_neither_blocks_itself_nor_breaks_the_books(
    doors: Doors, tenant: UUID, seed: int
) -> None:
    stepper = Stepper(doors, tenant)
    job_id = stepper.put_down([call(n) for n in range(4)])
    crowd = Crowd(stepper, job_id)
    call_all(seed, [crowd.work] * 4 + [crowd.schedule] * 2 + [crowd.watch])
    assert len(stepper.steps(job_id)) > 20
    stepper.check_books(job_id)

    with doors.as_operator("test") as tx:
        due.recover_lost(tx, 0.0)
    stepper.cancel(job_id)
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    assert stepper.story(job_id)[-1] == "job.cancelled"
    stepper.check_books(job_id)


@dataclass
class Family:
    """What a crowd does to a job, its children and theirs; what was promised to whom is noted."""

    stepper: Stepper
    root_id: UUID
    moves: int = 50
    accepted: list[str] = field(default_factory=list)
    answered: list[tuple[UUID, int, int]] = field(default_factory=list)

    def jobs(self, state: StepState | None = None) -> list[tuple[UUID, int]]:
        """(job, step) of every step, or of those in this state."""
        states = list(StepState) if state is None else [state]
        with self.stepper.doors.as_operator("test") as tx:
            rows = tx.execute(
                select(checkpoints.c.job_id, checkpoints.c.seq)
                .where(checkpoints.c.state.in_(states))
                .order_by(checkpoints.c.job_id, checkpoints.c.seq)
            )
            return [(row.job_id, row.seq) for row in rows]

    def work(self, draw: random.Random) -> None:
        worker = self.stepper.start_worker()
        for _ in range(self.moves):
            ready = self.jobs(StepState.READY)
            if not ready:
                continue
            held = self.stepper.claim(*draw.choice(ready), worker, is_told=draw.random() < 0.5)
            if held is None:
                worker = self.stepper.start_worker()
            elif draw.random() < 0.1:
                self.stepper.grow_old(worker, LEASE_S + 1)
            elif held.woken is not None or draw.random() < 0.3:
                self.go_on(held, draw)
            else:
                self.let_go(held, draw)

    def go_on(self, held: Claim, draw: random.Random) -> None:
        if draw.random() < 0.3:
            self.stepper.start_effect(held)
        if held.job_id != self.root_id and draw.random() < 0.4:
            self.stepper.commit(held, ending=COMPLETED)
            self.stepper.tell_parent(held.job_id)
        elif draw.random() < 0.5:
            self.stepper.commit(held, plan=tuple(call(n) for n in range(draw.randint(1, 3))))
        else:
            self.stepper.join(held)

    def let_go(self, held: Claim, draw: random.Random) -> None:
        kind = draw.randint(0, 4)
        if kind == 0:
            self.stepper.release(held, is_failed_try=draw.random() < 0.5)
        elif kind == 4:
            born = [child(call(1), call(2)) for _ in range(draw.randint(1, 2))]
            self.stepper.park(held, delegate(*born), depth_max=3, descendants_max=12)
        else:
            self.stepper.park(held, [timer(0.0), signal(), QUESTION][kind - 1])

    def send(self, draw: random.Random) -> None:
        for n in range(self.moves):
            job_id, _ = draw.choice(self.jobs())
            key = f"{draw.random()}/{n}"
            if self.stepper.send(job_id, n, key=key) is Sent.ACCEPTED:
                self.accepted.append(key)

    def answer(self, draw: random.Random) -> None:
        for n in range(self.moves):
            with self.stepper.doors.as_tenant(self.stepper.tenant_id) as tx:
                asked = waits.list_questions(tx)
            for each in asked[:3]:
                said = self.stepper.answer(each.job_id, n, seq=each.seq, n=each.n)
                if said is Answered.ANSWERED:
                    self.answered.append((each.job_id, each.seq, each.n))

    def cancel(self, draw: random.Random) -> None:
        for _ in range(self.moves // 10):
            job_id, _ = draw.choice(self.jobs())
            if job_id != self.root_id:
                self.stepper.cancel(job_id)

    def schedule(self, draw: random.Random) -> None:
        for _ in range(self.moves):
            walk_rounds(self.stepper.doors)

    def settle_down(self) -> None:
        """Let everybody go home: no worker holds anything, and what is over is over."""
        with self.stepper.doors.as_operator("test") as tx:
            due.recover_lost(tx, 0.0)
        worker = self.stepper.start_worker()
        for job_id, seq in self.jobs(StepState.READY):
            if self.stepper.job(job_id).status.is_ended:
                assert self.stepper.claim(job_id, seq, worker) is None
        stop_due(self.stepper.doors)
        wake(self.stepper.doors)


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_on_a_family_of_jobs_keeps_every_promise(
    doors: Doors, tenant: UUID, seed: int
) -> None:
    stepper = Stepper(doors, tenant)
    root_id = stepper.put_down([call(n) for n in range(6)])
    family = Family(stepper, root_id)
    # However the threads are scheduled, there are children and a question to begin with.
    worker = stepper.start_worker()
    for seq, wait in enumerate((delegate(child(call(1)), child(call(1))), QUESTION), 1):
        stepper.park(stepper.take(root_id, seq, worker), wait, depth_max=3, descendants_max=12)
    people = [family.send, family.answer, family.answer, family.cancel]
    call_all(seed, [family.work] * 4 + people + [family.schedule] * 2)

    family.settle_down()
    everybody = {job_id for job_id, _ in family.jobs()}
    assert 2 < len(everybody) <= 13
    for job_id in everybody:
        stepper.check_books(job_id)
        job = stepper.job(job_id)
        assert job.parent_told is (job.status.is_ended and job.parent_job_id is not None)
    with doors.as_operator("test") as tx:
        assert sorted(tx.execute(select(signals.c.key)).scalars()) == sorted(family.accepted)
    assert len(set(family.answered)) == len(family.answered), "no question is answered twice"
    assert family.answered

    stepper.cancel(root_id)
    wake(doors)
    for job_id in everybody:
        assert stepper.job(job_id).status.is_ended
        stepper.check_books(job_id)

"""A crowd on one job: workers, schedulers and a watcher at once, and nobody is in the way."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest

from scheduler.reconcile import stop_due
from scheduler.waking import wake
from store import due, transitions
from store.doors import Doors
from store.states import JobClass, JobStatus, StepState, Work
from tests.running import at_once
from tests.stepping import Stepper, call

LEASE_S = 4.0
MOVES = 120


@dataclass
class Crowd:
    """What each of them does, as often as it likes, in an order that the seed draws."""

    stepper: Stepper
    job_id: UUID
    seed: int

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

    def settle(self, held: transitions.Claim, draw: random.Random) -> None:
        if draw.random() < 0.1:
            self.stepper.release(held, is_failed_try=draw.random() < 0.5)
        elif held.input is None:
            self.stepper.commit(held, plan=tuple(call(n) for n in range(draw.randint(1, 4))))
        else:
            self.stepper.join(held)

    def schedule(self, draw: random.Random) -> None:
        doors = self.stepper.doors
        for _ in range(MOVES):
            with doors.as_operator("test") as tx:
                due.recover_lost(tx, LEASE_S)
            with doors.as_operator("test") as tx:
                due.take(tx, JobClass.DEFAULT, Work.WAITS, room=10, again_s=0.0)
            stop_due(doors)
            wake(doors)

    def watch(self, draw: random.Random) -> None:
        for _ in range(MOVES):
            with self.stepper.doors.hot() as connection:
                transitions.tell(
                    connection, self.stepper.tenant_id, self.job_id, "job.progress", {}
                )

    def call_all(self, acts: list[Callable[[random.Random], None]]) -> None:
        draws = [random.Random(f"{self.seed}/{n}") for n in range(len(acts))]
        at_once([lambda a=act, d=draw: a(d) for act, draw in zip(acts, draws, strict=True)])


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_on_one_job_neither_blocks_itself_nor_breaks_the_books(
    doors: Doors, tenant: UUID, seed: int
) -> None:
    stepper = Stepper(doors, tenant)
    job_id = stepper.put_down([call(n) for n in range(4)])
    crowd = Crowd(stepper, job_id, seed)

    # Whatever raises here (a deadlock does, as Unreachable) fails the test.
    crowd.call_all([crowd.work] * 4 + [crowd.schedule] * 2 + [crowd.watch])
    assert len(stepper.steps(job_id)) > 20
    stepper.check_books(job_id)

    with doors.as_operator("test") as tx:
        due.recover_lost(tx, 0.0)
    stepper.cancel(job_id)
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    assert stepper.story(job_id)[-1] == "job.cancelled"
    stepper.check_books(job_id)

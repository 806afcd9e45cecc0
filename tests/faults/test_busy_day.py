"""A busy day: many hands on many jobs, with everything that can happen, and no law is broken.

It shows two things: that the store keeps its laws when everybody comes at once, and that the
checker does not cry out over what is only busy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from store.rows import WaitRow
from store.states import StepState, WaitKind, WaitState
from store.transitions import Claim, Parked
from tests.conftest import Database
from tests.faults.facts import Outcome
from tests.faults.history import install
from tests.faults.laws import check, examine
from tests.faults.stage import WORK, Stage, child
from tests.running import at_once, eventually

JOBS, MOVES, REST_S_MAX = 12, 60, 30.0
LAST_SEQ, DEEPEST = 6, 2
ANY_END: tuple[Outcome, ...] = ("completed", "failed", "cancelled")


@dataclass
class Day:
    """What each of them does, as often as it likes, in an order that the seed draws."""

    stage: Stage
    seed: int
    jobs: list[UUID] = field(default_factory=list)

    def work(self, draw: random.Random) -> None:
        worker = self.stage.hire()
        for _ in range(MOVES):
            held = self.claim_any(draw, worker)
            if held is not None and draw.random() < 0.1:
                self.stage.stepper.grow_old(worker, 60.0)
                worker = self.stage.hire()
            elif held is not None:
                self.act(held, draw)

    def claim_any(self, draw: random.Random, worker: UUID) -> Claim | None:
        job_id = draw.choice(self.jobs)
        steps = self.stage.stepper.steps(job_id)
        ready = [step.seq for step in steps if step.state is StepState.READY]
        return self.stage.claim(job_id, draw.choice(ready), worker) if ready else None

    def act(self, held: Claim, draw: random.Random) -> None:
        fate = draw.random()
        if held.woken is not None:
            self.go_on(held, held.woken.result, draw)
        elif held.effect_epoch is not None or fate < 0.1:
            if self.stage.charge_with_care(held):
                self.go_on(held, "charged", draw)
            else:
                self.stage.release(held)
        elif fate < 0.2:
            self.stage.release(held)
        elif fate < 0.25:
            self.stage.fail(held)
        elif fate < 0.5:
            self.park(held, draw)
        else:
            self.go_on(held, f"{held.seq}/{held.epoch}", draw)

    def go_on(self, held: Claim, output: Any, draw: random.Random) -> None:
        if held.seq >= LAST_SEQ:
            self.stage.commit(held, output, ends=True)
            return
        plan = (WORK,) * draw.randint(1, 2)
        self.stage.commit(held, output, plan=plan)

    def park(self, held: Claim, draw: random.Random) -> None:
        kind = draw.choice([WaitKind.TIMER, WaitKind.SIGNAL, WaitKind.QUESTION, WaitKind.CHILDREN])
        if kind is not WaitKind.CHILDREN:
            self.stage.park(held, kind, "go", wake_in_s=draw.choice([0.0, 0.1, 3.0]))
            return
        children = tuple(child(n) for n in range(draw.randint(1, 2)))
        if self.stage.park(held, kind, children=children) is Parked.PARKED:
            self.jobs += [each.id for each in children]

    def schedule(self, draw: random.Random) -> None:
        for _ in range(MOVES):
            self.stage.recover()
            self.stage.wake_due()
            self.stage.tell_parents()
            self.stage.stop_stopping()
            self.stage.ring_again()

    def meddle(self, draw: random.Random) -> None:
        for n in range(MOVES):
            job_id = draw.choice(self.jobs)
            self.stage.send(job_id, "go", {"n": n})
            self.answer_all(job_id)
            if draw.random() < 0.05:
                self.stage.stepper.cancel(job_id)

    def answer_all(self, job_id: UUID) -> None:
        for wait in self.pending(job_id):
            if wait.kind is WaitKind.QUESTION:
                self.stage.answer(job_id, "yes", seq=wait.seq, n=wait.n)
            if wait.kind is WaitKind.RECONCILE:
                self.stage.answer(job_id, {"decision": "again"}, seq=wait.seq, n=wait.n)

    def pending(self, job_id: UUID) -> Iterator[WaitRow]:
        return (wait for wait in self.stage.waits(job_id) if wait.state is WaitState.PENDING)

    def call_all(self, acts: list[Callable[[random.Random], None]]) -> None:
        draws = [random.Random(f"{self.seed}/{n}") for n in range(len(acts))]
        at_once([partial(act, draw) for act, draw in zip(acts, draws, strict=True)])

    def has_come_to_rest(self) -> bool:
        """Whether everything is over; does what is left to do meanwhile, in peace."""
        self.stage.recover()
        self.stage.wake_due()
        self.stage.stop_stopping()
        self.stage.tell_parents()
        jobs = [self.stage.stepper.job(job_id) for job_id in self.jobs]
        under_way = [job.id for job in jobs if job.outstanding or not job.status.is_ended]
        for job_id in under_way:
            self.help(job_id)
        return not under_way

    def help(self, job_id: UUID) -> None:
        self.answer_all(job_id)
        for wait in self.pending(job_id):
            if wait.kind is WaitKind.SIGNAL:
                self.stage.send(job_id, wait.name, "late")
        self.stage.finish(job_id)


@pytest.mark.parametrize("seed", range(2))
def test_no_law_is_broken_on_a_busy_day(database: Database, tmp_path: Path, seed: int) -> None:
    install(database.admin_url)
    stage = Stage(database, tmp_path)
    day = Day(stage, seed, [stage.put_down(WORK, outcome=ANY_END) for _ in range(JOBS)])
    meanwhile = []

    def check_on_the_way(_: random.Random) -> None:
        meanwhile.extend(check(stage.facts, replace(stage.terms(database), is_settled=False)))

    day.call_all([day.work] * 4 + [day.schedule, day.meddle, check_on_the_way])
    assert meanwhile == []
    eventually(day.has_come_to_rest, REST_S_MAX)
    examined = examine(stage.facts, stage.terms(database))
    assert examined.violations == []
    assert examined.counts.jobs == len(day.jobs)
    assert examined.recoveries
    stage.close()

"""Every order of claims, commits, releases, cancels and losses, against a model on one page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from store import due
from store.doors import Doors
from store.states import JobStatus, StepState
from store.transitions import Claim, Ending
from tests.stepping import COMPLETED, MODEL, Stepper, call

LEASE_S = 4.0
PICK = st.integers(min_value=0, max_value=1_000)


@dataclass
class ModelStep:
    """What a step should be. `holder` is a worker's number."""

    state: str = "ready"
    epoch: int = 0
    holder: UUID | None = None
    output: object = None


@dataclass
class ModelJob:
    """What the job should be."""

    steps: list[ModelStep] = field(default_factory=list)
    ending: str | None = None
    is_cancelling: bool = False

    def count(self, *states: str) -> int:
        return sum(step.state in states for step in self.steps)

    def end_if_cancelled(self) -> None:
        if self.is_cancelling and not self.ending and not self.count("ready", "running"):
            self.ending = "cancelled"

    def drop_ready(self) -> None:
        for step in self.steps:
            if step.state == "ready":
                step.state = "cancelled"


class AnyOrder(RuleBasedStateMachine):
    """One job, three workers, and whatever hypothesis thinks of."""

    doors: ClassVar[Doors]
    tenant_id: ClassVar[UUID]

    @initialize()
    def begin(self) -> None:
        self.stepper = Stepper(self.doors, self.tenant_id)
        self.job_id = self.stepper.put_down()
        self.workers = [self.stepper.start_worker() for _ in range(3)]
        self.claims: list[Claim] = []
        self.model = ModelJob([ModelStep()])
        self.kept: dict[int, object] = {}

    @rule(worker=PICK, seq=PICK, is_told=st.booleans())
    def claim(self, worker: int, seq: int, is_told: bool) -> None:
        seq = seq % len(self.model.steps) + 1
        step, who = self.model.steps[seq - 1], self.workers[worker % 3]
        held = self.stepper.claim(self.job_id, seq, who, is_told=is_told)
        over = self.model.ending or self.model.is_cancelling
        if step.state != "ready" or over:
            assert held is None
            if step.state == "ready":
                self.model.drop_ready()
                self.model.end_if_cancelled()
            return
        assert held is not None
        step.state, step.holder = "running", who
        step.epoch += 1
        assert held.epoch == step.epoch
        self.claims.append(held)

    @rule(which=PICK, steps=st.integers(1, 3), inline=st.booleans(), joining=st.booleans())
    def commit(self, which: int, steps: int, inline: bool, joining: bool) -> None:
        held = self.pick(which)
        if held is None:
            return
        inline = inline and steps == 1
        plan = (MODEL,) if steps == 1 else tuple(call(n) for n in range(steps))
        output = f"{held.seq}/{held.epoch}/{len(self.claims)}"
        settled = self.stepper.commit(
            held, output=output, plan=plan, is_joining=joining, is_inline=inline
        )
        if not self.settles(held, settled is not None, output):
            return
        assert settled is not None
        alone = not self.model.count("ready", "running")
        if self.model.ending or self.model.is_cancelling or (joining and not alone):
            assert settled.planned == 0
            self.model.end_if_cancelled()
            return
        assert (settled.first_seq, settled.planned) == (len(self.model.steps) + 1, steps)
        for _ in range(steps):
            born = ModelStep("running", 1, held.worker_id) if inline else ModelStep()
            self.model.steps.append(born)
        if inline:
            self.claims.append(replace(held, seq=settled.first_seq, epoch=1))

    @rule(which=PICK, ending=st.sampled_from(["completed", "failed"]))
    def end(self, which: int, ending: str) -> None:
        held = self.pick(which)
        if held is None:
            return
        failed = Ending(JobStatus.FAILED, error={"class": "bug"}, reason="bug")
        settled = self.stepper.commit(
            held, output="end", ending=COMPLETED if ending == "completed" else failed
        )
        if self.settles(held, settled is not None, "end") and not self.model.ending:
            self.model.ending = ending
            self.model.drop_ready()

    @rule(which=PICK, is_failed_try=st.booleans())
    def release(self, which: int, is_failed_try: bool) -> None:
        held = self.pick(which)
        if held is None:
            return
        released = self.stepper.release(held, is_failed_try=is_failed_try)
        step = self.model.steps[held.seq - 1]
        assert released is self.is_latest(held)
        if released:
            step.state, step.holder = "ready", None
            if self.model.ending or self.model.is_cancelling:
                self.model.drop_ready()
                self.model.end_if_cancelled()

    @rule()
    def cancel(self) -> None:
        self.stepper.cancel(self.job_id)
        if not self.model.ending:
            self.model.is_cancelling = True
            self.model.drop_ready()
            self.model.end_if_cancelled()

    @rule(worker=PICK)
    def lose(self, worker: int) -> None:
        lost = self.workers[worker % 3]
        self.stepper.grow_old(lost, LEASE_S + 1)
        with self.doors.as_operator("test") as tx:
            due.recover_lost(tx, LEASE_S)
        self.workers[worker % 3] = self.stepper.start_worker()
        for step in self.model.steps:
            if step.state == "running" and step.holder == lost:
                step.state, step.holder = "ready", None

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        job, steps = self.stepper.job(self.job_id), self.stepper.steps(self.job_id)
        assert [step.state.value for step in steps] == [step.state for step in self.model.steps]
        assert [step.epoch for step in steps] == [step.epoch for step in self.model.steps]
        assert job.outstanding == self.model.count("ready", "running")
        assert job.next_seq == len(steps) + 1
        assert (job.status.value if job.status.is_ended else None) == self.model.ending
        for step in steps:
            if step.state is StepState.COMMITTED:
                assert self.kept.setdefault(step.seq, step.output) == step.output
        self.stepper.story(self.job_id)

    def pick(self, which: int) -> Claim | None:
        """Any claim ever made, stale ones among them."""
        return self.claims[which % len(self.claims)] if self.claims else None

    def is_latest(self, held: Claim) -> bool:
        step = self.model.steps[held.seq - 1]
        return step.state == "running" and step.epoch == held.epoch

    def settles(self, held: Claim, has_settled: bool, output: object) -> bool:
        assert has_settled is self.is_latest(held)
        if has_settled:
            step = self.model.steps[held.seq - 1]
            step.state, step.output = "committed", output
        return has_settled


def test_in_any_order_the_books_are_right(doors: Doors, tenant: UUID) -> None:
    AnyOrder.doors, AnyOrder.tenant_id = doors, tenant
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )

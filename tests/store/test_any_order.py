"""Every order of what workers, people and the clock do to a job, against a model on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scheduler.reconcile import stop_due
from store.doors import Doors
from store.states import StepState
from store.transitions import Claim
from tests.stepping import COMPLETED, MODEL, Stepper, call
from tests.store.model import WAITS, ModelJob, ModelStep, look, told_by

T = TypeVar("T")
PICK = st.integers(min_value=0, max_value=1_000)


class AnyOrder(RuleBasedStateMachine):
    """One job, three workers, and whatever hypothesis thinks of."""

    doors: ClassVar[Doors]
    tenant_id: ClassVar[UUID]

    @initialize(calm=st.sampled_from([30, 20, 10, 0]))
    def begin(self, calm: int) -> None:
        """For so many moves nothing ends the job; what comes after an end is soon seen."""
        self.calm = calm
        self.stepper = Stepper(self.doors, self.tenant_id)
        self.job_id = self.stepper.put_down(deadline_in_s=600)
        self.workers = [self.stepper.start_worker() for _ in range(3)]
        self.claims: list[Claim] = []
        self.model = ModelJob([ModelStep()])
        self.kept: dict[int, object] = {}
        self.counted = self.moves = 0

    # --- workers ----------------------------------------------------------------------------------

    @rule(worker=PICK, seq=PICK, is_told=st.booleans())
    def claim(self, worker: int, seq: int, is_told: bool) -> None:
        ready = [n for n, step in enumerate(self.model.steps, start=1) if step.state == "ready"]
        seq = self.one_of(ready or [1], seq, of_all=range(1, len(self.model.steps) + 1))
        who = self.workers[worker % 3]
        held = self.stepper.claim(self.job_id, seq, who, is_told=is_told)
        assert told_by(held) == self.model.claim(seq, who)
        if held is not None:
            self.claims.append(held)

    @precondition(lambda self: self.claims)
    @rule(which=PICK, steps=st.integers(1, 3), inline=st.booleans(), joining=st.booleans())
    def commit(self, which: int, steps: int, inline: bool, joining: bool) -> None:
        held, inline = self.pick(which), inline and steps == 1
        plan = (MODEL,) if steps == 1 else tuple(call(n) for n in range(steps))
        settled = self.stepper.commit(
            held, output=self.count(), plan=plan, is_joining=joining, is_inline=inline
        )
        expected = self.model.commit(held, steps, is_joining=joining, is_inline=inline)
        assert (settled is None) is (expected is None)
        if settled is not None and settled.planned:
            assert (settled.planned, settled.first_seq) == expected
            if inline:
                self.claims.append(replace(held, seq=settled.first_seq, epoch=1))
        else:
            assert expected in (None, (0,))

    @precondition(lambda self: self.claims and self.moves > self.calm)
    @rule(which=PICK)
    def complete(self, which: int) -> None:
        held = self.pick(which)
        settled = self.stepper.commit(held, output=self.count(), ending=COMPLETED)
        assert (settled is not None) is self.model.end(held, "completed")

    @precondition(lambda self: self.claims and self.moves > self.calm)
    @rule(which=PICK)
    def fail(self, which: int) -> None:
        held = self.pick(which)
        assert (self.stepper.fail(held) is not None) is self.model.end(held, "failed")

    @precondition(lambda self: self.claims)
    @rule(which=PICK, is_failed_try=st.booleans())
    def release(self, which: int, is_failed_try: bool) -> None:
        held = self.pick(which)
        released = self.stepper.release(held, is_failed_try=is_failed_try)
        assert released is self.model.release(held, is_failed_try=is_failed_try)

    @precondition(lambda self: self.claims)
    @rule(which=PICK, on=st.sampled_from(sorted(WAITS)))
    def park(self, which: int, on: str) -> None:
        held = self.pick(which)
        assert self.stepper.park(held, WAITS[on]) is self.model.park(held, on)

    @precondition(lambda self: self.claims)
    @rule(which=PICK)
    def start_effect(self, which: int) -> None:
        held = self.pick(which)
        assert self.stepper.start_effect(held) is self.model.start_effect(held)

    @rule(worker=PICK)
    def lose(self, worker: int) -> None:
        lost = self.workers[worker % 3]
        self.stepper.lose(lost)
        self.model.lose(lost)
        self.workers[worker % 3] = self.stepper.start_worker()

    # --- people, other systems, and the clock -----------------------------------------------------

    @rule(which=PICK)
    def answer(self, which: int) -> None:
        waits = [
            (seq, n, wait)
            for seq, step in enumerate(self.model.steps, start=1)
            for n, wait in enumerate(step.waits, start=1)
        ]
        asked = [(seq, n) for seq, n, wait in waits if wait.asks_now]
        never = (1, len(self.model.steps[0].waits) + 1)
        every = [(seq, n) for seq, n, _ in waits] + [never]
        seq, n = self.one_of(asked or every, which, of_all=every)
        said = self.count()
        answered = self.stepper.answer(self.job_id, said, seq=seq, n=n)
        assert answered is self.model.answer(seq, n, said)

    @rule(name=st.sampled_from(["paid", "shipped"]))
    def send(self, name: str) -> None:
        payload = self.count()
        sent = self.stepper.send(self.job_id, payload, name=name)
        assert sent is self.model.send(name, payload)

    @rule()
    def let_waits_come_due(self) -> None:
        self.stepper.set_back("waits", "wake_at", 1_000.0, job_id=self.job_id, state="pending")
        self.model.come_due()
        assert self.stepper.wake() == self.model.wake()

    @precondition(lambda self: self.moves > self.calm)
    @rule()
    def let_the_deadline_pass(self) -> None:
        self.stepper.pass_deadline(self.job_id)
        self.model.is_late = True

    @precondition(lambda self: self.moves > self.calm)
    @rule()
    def cancel(self) -> None:
        self.stepper.cancel(self.job_id)
        self.model.cancel()

    @rule()
    def end_what_is_to_end(self) -> None:
        assert stop_due(self.doors) == self.model.stop_due()

    def teardown(self) -> None:
        """Leave nothing behind that a round of the next example could find."""
        for worker in self.workers:
            self.stepper.lose(worker)
        self.stepper.cancel(self.job_id)
        assert self.stepper.job(self.job_id).status.is_ended

    # --- how it has to be -------------------------------------------------------------------------

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        self.moves += 1
        assert look(self.stepper, self.job_id) == self.model.as_told()
        job, steps = self.stepper.job(self.job_id), self.stepper.steps(self.job_id)
        assert job.outstanding == self.model.count("ready", "running", "waiting")
        assert job.next_seq == len(steps) + 1
        for step in steps:
            if step.state is StepState.COMMITTED:
                assert self.kept.setdefault(step.seq, step.output) == step.output
        self.stepper.check_waits(self.job_id)
        self.stepper.story(self.job_id)

    def pick(self, which: int) -> Claim:
        """A claim that is held, or any that ever was."""
        held = [claim for claim in self.claims if self.model.is_latest(claim)]
        return self.one_of(held or self.claims, which, of_all=self.claims)

    def one_of(self, likely: Sequence[T], which: int, *, of_all: Sequence[T]) -> T:
        """One of what has a chance to matter, or now and then one of all."""
        some = of_all if which % 8 == 7 else likely
        return some[which % len(some)]

    def count(self) -> int:
        """A number that was not there before."""
        self.counted += 1
        return self.counted


def test_in_any_order_the_books_are_right(doors: Doors, tenant: UUID) -> None:
    AnyOrder.doors, AnyOrder.tenant_id = doors, tenant
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=20,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )

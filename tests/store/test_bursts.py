"""Bursts: whatever is done to a job at once is what some order of it, one by one, would have done.

A few moves are drawn and made by threads that start together, each on a connection of its own. Then
the answers they were given, and what the database holds, have to be those of the model for at least
one order of the moves. Which order it was cannot be seen: every job of the model that fits is kept,
and the next burst may begin with any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from uuid import UUID

import pytest

from scheduler.reconcile import stop_due
from store.doors import Doors
from store.states import StepState, WaitKind, WaitState
from store.transitions import Claim
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, Stepper, call
from tests.store.model import WAITS, ModelJob, ModelStep, Told, look, told_by

STEPS, TABLES, BURSTS, MOVES = 3, 8, 14, (2, 4)
# Orders that fit and differ in what cannot be seen yet; more of them would only cost time.
KEPT_MAX = 12
NEVER = "never"


@dataclass
class Move:
    """Something to do beside others: in the database, and in the model.

    `pass_by` is the answer of a move that leaves the job alone while somebody else is at it.
    """

    name: str
    act: Callable[[], object]
    expect: Callable[[ModelJob], object]
    pass_by: object = NEVER
    answer: object = None


def explain(model: ModelJob, moves: Sequence[Move]) -> Iterator[ModelJob]:
    """How the model may stand after the moves, in every order that gives their answers."""
    if not moves:
        yield model
    for n, move in enumerate(moves):
        others = [*moves[:n], *moves[n + 1 :]]
        after = deepcopy(model)
        if move.expect(after) == move.answer:
            yield from explain(after, others)
        if move.answer == move.pass_by:
            yield from explain(model, others)


class Table:
    """One job, and those who are about to reach for it, by draws that can be drawn again."""

    def __init__(self, stepper: Stepper, draw: Random) -> None:
        self.stepper, self.draw = stepper, draw
        self.job_id = stepper.put_down([call(n) for n in range(STEPS)], deadline_in_s=600)
        self.worker = stepper.start_worker()
        self.held: list[Claim] = []
        self.models = [ModelJob([ModelStep() for _ in range(STEPS)])]
        self.counted = 0

    @property
    def is_over(self) -> bool:
        return self.models[0].ending is not None

    def play(self) -> None:
        """One burst; afterwards at least one model has to explain it."""
        self.let_time_pass()
        makers = self.makers()
        moves = [self.draw.choice(makers)() for _ in range(self.draw.randint(*MOVES))]
        for move, answer in zip(moves, at_once([move.act for move in moves]), strict=True):
            move.answer = answer
        seen = look(self.stepper, self.job_id)
        fitting = {
            repr(after): after
            for model in self.models
            for after in explain(model, moves)
            if after.as_told() == seen
        }
        told = [f"{move.name} -> {move.answer}" for move in moves]
        assert fitting, f"no order of {told} leads from {self.models} to {seen}"
        self.models = list(fitting.values())[:KEPT_MAX]
        self.stepper.check_waits(self.job_id)
        self.stepper.check_signals(self.job_id)
        self.stepper.story(self.job_id)

    def let_time_pass(self) -> None:
        """Before the others move, a time has come now and then, or a worker has died."""
        chance = self.draw.random()
        if chance < 0.04:
            lost, self.worker = self.worker, self.stepper.start_worker()
            self.stepper.lose(lost)
            for model in self.models:
                model.lose(lost)
        elif chance < 0.05:
            self.stepper.pass_deadline(self.job_id)
            for model in self.models:
                model.is_late = True
        elif chance < 0.5:
            self.stepper.set_back("waits", "wake_at", 1e3, job_id=self.job_id, state="pending")
            for model in self.models:
                model.come_due()

    def makers(self) -> list[Callable[[], Move]]:
        """What has a chance to matter as the job stands."""
        makers = [self.send, self.wake]
        if self.ready():
            makers += [self.claim] * 4
        if self.running():
            makers += [self.commit, self.commit, self.park, self.park, self.release, self.start]
        if self.asked():
            makers += [self.answer] * 3
        if self.draw.random() < 0.05:
            makers += [self.stop, self.cancel]
            makers += [self.complete, self.fail] if self.running() else []
        return makers

    def clear(self) -> None:
        """Leave nothing behind that a round at the next table could find."""
        self.stepper.lose(self.worker)
        self.stepper.cancel(self.job_id)
        stop_due(self.stepper.doors)
        assert self.stepper.job(self.job_id).status.is_ended

    # --- what moves are drawn from ----------------------------------------------------------------

    def ready(self) -> list[int]:
        steps = self.stepper.steps(self.job_id)
        return [step.seq for step in steps if step.state is StepState.READY]

    def running(self) -> list[Claim]:
        return [held for held in self.held if self.models[0].is_latest(held)]

    def asked(self) -> list[tuple[int, int]]:
        asked = [w for w in self.stepper.waits(self.job_id) if w.kind is WaitKind.QUESTION]
        is_open = [w for w in asked if w.state is WaitState.PENDING]
        return [(w.seq, w.n) for w in is_open or asked[-1:]]

    def pick(self) -> Claim:
        """A claim that is held, or now and then one that was."""
        return self.draw.choice(self.held if self.draw.random() < 0.1 else self.running())

    def flip(self) -> bool:
        return self.draw.random() < 0.5

    def count(self) -> int:
        self.counted += 1
        return self.counted

    # --- moves of workers -------------------------------------------------------------------------

    def claim(self) -> Move:
        seq, is_told = self.draw.choice(self.ready()), self.flip()
        who = self.worker

        def act() -> Told | None:
            held = self.stepper.claim(self.job_id, seq, who, is_told=is_told)
            if held is not None:
                self.held.append(held)
            return told_by(held)

        return Move(f"claim {seq}", act, lambda model: model.claim(seq, who), pass_by=None)

    def commit(self) -> Move:
        held, count = self.pick(), self.draw.randint(1, 2)
        is_joining, is_inline = self.flip(), self.flip() and count == 1
        plan = (MODEL,) * count

        def act() -> Told | None:
            settled = self.stepper.commit(
                held, plan=plan, is_joining=is_joining, is_inline=is_inline
            )
            if settled is None or not settled.planned:
                return None if settled is None else (0,)
            if is_inline:
                self.held.append(replace(held, seq=settled.first_seq, epoch=1))
            return (settled.planned, settled.first_seq)

        def expect(model: ModelJob) -> Told | None:
            return model.commit(held, count, is_joining=is_joining, is_inline=is_inline)

        return Move(f"commit {held.seq}/{held.epoch}", act, expect)

    def complete(self) -> Move:
        held = self.pick()
        return Move(
            f"complete {held.seq}/{held.epoch}",
            lambda: self.stepper.commit(held, ending=COMPLETED) is not None,
            lambda model: model.end(held, "completed"),
        )

    def fail(self) -> Move:
        held = self.pick()
        return Move(
            f"fail {held.seq}/{held.epoch}",
            lambda: self.stepper.fail(held) is not None,
            lambda model: model.end(held, "failed"),
        )

    def release(self) -> Move:
        held, is_failed_try = self.pick(), self.flip()
        return Move(
            f"release {held.seq}/{held.epoch}",
            lambda: self.stepper.release(held, is_failed_try=is_failed_try),
            lambda model: model.release(held, is_failed_try=is_failed_try),
        )

    def park(self) -> Move:
        held, on = self.pick(), self.draw.choice(sorted(WAITS))
        return Move(
            f"park {held.seq}/{held.epoch} on {on}",
            lambda: self.stepper.park(held, WAITS[on]),
            lambda model: model.park(held, on),
        )

    def start(self) -> Move:
        held = self.pick()
        return Move(
            f"start {held.seq}/{held.epoch}",
            lambda: self.stepper.start_effect(held),
            lambda model: model.start_effect(held),
            # It looks at the job first, and may find its claim gone with the end of the job.
            pass_by=None,
        )

    # --- moves of others --------------------------------------------------------------------------

    def answer(self) -> Move:
        (seq, n), said = self.draw.choice(self.asked()), self.count()
        return Move(
            f"answer {seq}/{n}",
            lambda: self.stepper.answer(self.job_id, said, seq=seq, n=n),
            lambda model: model.answer(seq, n, said),
        )

    def send(self) -> Move:
        name, payload = self.draw.choice(["paid", "shipped"]), self.count()
        return Move(
            f"send {name} {payload}",
            lambda: self.stepper.send(self.job_id, payload, name=name),
            lambda model: model.send(name, payload),
        )

    def wake(self) -> Move:
        return Move("wake", self.stepper.wake, ModelJob.wake, pass_by=0)

    def stop(self) -> Move:
        def act() -> None:
            # How many it found is not compared: another one may end the job in between.
            stop_due(self.stepper.doors)

        def expect(model: ModelJob) -> None:
            model.stop_due()

        return Move("stop", act, expect, pass_by=None)

    def cancel(self) -> Move:
        def act() -> None:
            self.stepper.cancel(self.job_id)

        return Move("cancel", act, ModelJob.cancel)


@pytest.mark.parametrize("seed", range(2))
def test_a_burst_of_moves_is_what_some_order_of_them_would_have_been(
    doors: Doors, tenant: UUID, seed: int
) -> None:
    stepper, draw = Stepper(doors, tenant), Random(seed)
    for _ in range(TABLES):
        table = Table(stepper, draw)
        for _ in range(BURSTS):
            if not table.is_over:
                table.play()
        table.clear()

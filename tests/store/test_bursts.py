"""Bursts: whatever is done to a job at once is what some order of it, one by one, would have done.

A few moves are drawn and made by threads that start together. Then the answers they were given, and
what the database holds, have to be those of the model for at least one order of the moves. Which
order it was is not known: every job of the model that fits is kept, and the next burst may begin
with any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scheduler.reconcile import stop_due
from store.doors import Doors
from store.states import StepState, WaitKind
from store.transitions import Claim
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, Stepper, call
from tests.store.model import WAITS, ModelJob, ModelStep, Told, look, told_by

STEPS, BURSTS, MOVES_MAX = 3, 5, 4
# Orders that fit and differ in what cannot be seen yet; more of them would only cost time.
KEPT_MAX = 50


@dataclass
class Move:
    """Something to do at once with others: in the database, and in the model.

    `pass_by` is the answer of a move that leaves a job alone because somebody else is at it.
    """

    name: str
    act: Callable[[], object]
    expect: Callable[[ModelJob], object]
    pass_by: object = "never"
    answer: object = None


class Table:
    """One job, and those who are about to reach for it."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.job_id = stepper.put_down(
            [call(n) for n in range(STEPS)], deadline_in_s=600
        )
        self.worker = stepper.start_worker()
        self.held: list[Claim] = []
        self.models = [ModelJob([ModelStep() for _ in range(STEPS)])]
        self.counted = 0

    def play(self, moves: list[Move]) -> None:
        """Make the moves at once, and keep every model that explains what came of it."""
        answers = at_once([move.act for move in moves])
        for move, answer in zip(moves, answers, strict=True):
            move.answer = answer
        seen = look(self.stepper, self.job_id)
        fitting = {}
        for model in self.models:
            for after in explain(model, moves):
                if after.as_told() == seen:
                    fitting[repr(after)] = after
        told = "\n".join(f"{move.name} -> {move.answer!r}" for move in moves)
        assert fitting, f"no order of these explains it:\n{told}\n{seen}\nbefore: {self.models}"
        self.models = list(fitting.values())[:KEPT_MAX]
        self.stepper.check_waits(self.job_id)
        self.stepper.check_signals(self.job_id)
        self.stepper.story(self.job_id)

    def count(self) -> int:
        self.counted += 1
        return self.counted

    # --- moves ------------------------------------------------------------------------------------

    def draw(self, data: st.DataObject) -> list[Move]:
        """A few moves that have a chance to matter as the job stands, some of them stale."""
        steps = self.stepper.steps(self.job_id)
        ready = [step.seq for step in steps if step.state is StepState.READY]
        asking = [
            (wait.seq, wait.n)
            for wait in self.stepper.waits(self.job_id)
            if wait.kind is WaitKind.QUESTION
        ]
        makers = [self.send, self.send, self.wake, self.stop]
        makers += [self.claim] * 4 * bool(ready)
        makers += [self.commit, self.park, self.park, self.release, self.start] * bool(self.held)
        makers += [self.answer] * 3 * bool(asking)
        chosen = data.draw(st.lists(st.sampled_from(makers), min_size=2, max_size=MOVES_MAX))
        if data.draw(st.integers(0, 9)) == 0:
            chosen.append(data.draw(st.sampled_from([self.cancel, self.end] if self.held else [self.cancel])))
        return [make(Given(data, ready, asking)) for make in chosen]

    def claim(self, given: Given) -> Move:
        seq, is_told = given.one_of(given.ready), given.flip()

        def act() -> Told | None:
            held = self.stepper.claim(self.job_id, seq, self.worker, is_told=is_told)
            if held is not None:
                self.held.append(held)
            return told_by(held)

        return Move(f"claim {seq}", act, lambda m: m.claim(seq, self.worker), pass_by=None)

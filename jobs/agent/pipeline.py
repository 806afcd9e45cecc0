"""Pipelines: a list of functions, each a durable step that gets what the one before it returned."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.agent.tool import ToolContext, begins_with_context
from jobs.errors import Misdeclared
from store.states import StepKind, Work
from store.transitions import Plan

# A pipeline's step is given the same things as a tool.
StepContext = ToolContext


class AnyInput(BaseModel):
    """An input that is whatever the caller sent."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class Pipeline:
    """Steps without a model. A function takes `(context, value)`, `(value)`, `(context)` declared
    as a `StepContext`, or nothing.

    The first is given the job's input, every other what the one before it returned, as JSON. What
    the last returns is the job's output. A step that raises is tried again by its error's class;
    `work` says whether the steps wait or compute; `repeat` runs the whole list that many times.
    """

    name: str
    steps: Sequence[Callable[..., Any]]
    input_type: type[BaseModel] = AnyInput
    work: Work | Literal["waits", "computes"] = Work.WAITS
    timeout_s: float = 60.0
    repeat: int = 1
    description: str = ""

    def __post_init__(self) -> None:
        if not self.steps:
            raise Misdeclared(f"Pipeline {self.name!r} has no steps.")
        names = [step.__name__ for step in self.steps]
        if len(set(names)) < len(names):
            raise Misdeclared(f"Pipeline {self.name!r} has two steps of the same name.")
        if self.repeat < 1:
            raise Misdeclared(f"Pipeline {self.name!r} has to run at least once.")

    def first_steps(self) -> tuple[Plan, ...]:
        return (self._plan(0),)

    def step_after(self, position: int) -> Plan | None:
        """What comes after the step at this position, or None when that was the last."""
        following = position + 1
        return self._plan(following) if following < len(self.steps) * self.repeat else None

    def _plan(self, position: int) -> Plan:
        function = self.steps[position % len(self.steps)]
        name = f"step.{self.name}.{function.__name__}"
        return Plan(StepKind.FUNCTION, name, Work(self.work), {"position": position})

    def call(self, position: int, context: StepContext, value: Any) -> Any:
        """Run the function at this position; a coroutine is returned, not awaited."""
        place = position % len(self.steps)
        takes_context, takes_value = self._takes[place]
        given = [context] * takes_context + [value] * takes_value
        return self.steps[place](*given)

    @cached_property
    def _takes(self) -> tuple[tuple[bool, bool], ...]:
        """For each function, whether it takes the context, and whether it takes the value."""
        return tuple(_takes(step) for step in self.steps)

    @cached_property
    def version(self) -> str:
        """A fingerprint of the names of its steps, in order; jobs pin it."""
        face = "\n".join([self.name, str(self.repeat), *(step.__name__ for step in self.steps)])
        return hashlib.sha256(face.encode()).hexdigest()[:12]


def _takes(function: Callable[..., Any]) -> tuple[bool, bool]:
    count = len(inspect.signature(function).parameters)
    if count == 1:
        wants_context = begins_with_context(function)
        return wants_context, not wants_context
    return count > 1, count > 1

"""Pipelines: a list of functions, each a durable step that gets what the one before it returned."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.agent.budget import Budget, OnBudget, check_on_budget
from jobs.agent.outside import OnRateLimit, check_on_rate_limit
from jobs.agent.tool import Tool, ToolContext, begins_with_context
from jobs.agent.versions import check_accepts, is_accepted
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
    `work` says whether the steps wait or compute; `repeat` runs the whole list that many times;
    a job that is not done `deadline_s` after its submission expires.

    A step may be a `Tool`, for what it says about itself: its effect, its idempotency and lookup,
    its timeout and work, its process. It takes `(value)` or nothing, after its context. What is not
    a tool may be called again at any time.

    An optional tool that is left out hands on the value that it was given.

    `accepts` are the earlier versions whose jobs this code may go on with; `*` is any.

    `on_rate_limit` says what becomes of a step that is told to slow down: `dead_letter` gives the
    job up, with all that it has done kept; `park` lets the step wait until it may go on.

    `limits` bound what a job may use; `on_budget` says the same of a step beyond them: `fail`, or
    `park`, until a person has raised them.
    """

    name: str
    steps: Sequence[Callable[..., Any] | Tool]
    input_type: type[BaseModel] = AnyInput
    work: Work | Literal["waits", "computes"] = Work.WAITS
    timeout_s: float = 60.0
    repeat: int = 1
    deadline_s: float | None = None
    description: str = ""
    accepts: Sequence[str] = ()
    on_rate_limit: OnRateLimit = "dead_letter"
    limits: Budget = field(default_factory=Budget)
    on_budget: OnBudget = "fail"

    def __post_init__(self) -> None:
        if not self.steps:
            raise Misdeclared(f"Pipeline {self.name!r} has no steps.")
        names = [_name_of(step) for step in self.steps]
        if len(set(names)) < len(names):
            raise Misdeclared(f"Pipeline {self.name!r} has two steps of the same name.")
        if self.repeat < 1:
            raise Misdeclared(f"Pipeline {self.name!r} has to run at least once.")
        for step in self.steps:
            if isinstance(step, Tool):
                step.check_as_step()
        check_accepts(self.name, self.accepts)
        check_on_rate_limit(self.on_rate_limit)
        check_on_budget(self.on_budget)

    def first_steps(self) -> tuple[Plan, ...]:
        return (self._plan(0),)

    def step_after(self, position: int) -> Plan | None:
        """What comes after the step at this position, or None when that was the last."""
        following = position + 1
        return self._plan(following) if following < len(self.steps) * self.repeat else None

    def _plan(self, position: int) -> Plan:
        name, work = self.name_at(position), self.work_at(position)
        return Plan(StepKind.FUNCTION, name, work, {"position": position})

    def name_at(self, position: int) -> str:
        """What the step at this position is called, as Flower and people see it."""
        return f"step.{self.name}.{_name_of(self.step_at(position))}"

    def step_at(self, position: int) -> Callable[..., Any] | Tool:
        return self.steps[position % len(self.steps)]

    def tool_at(self, position: int) -> Tool | None:
        """The tool at this position, or None when a plain function is there."""
        step = self.step_at(position)
        return step if isinstance(step, Tool) else None

    def timeout_at(self, position: int) -> float:
        """Seconds after which the step is given up: those of its tool, else the pipeline's."""
        tool = self.tool_at(position)
        return self.timeout_s if tool is None else tool.limit_s

    def work_at(self, position: int) -> Work:
        """Whether the step waits or computes: what its tool says, else the pipeline."""
        tool = self.tool_at(position)
        return Work(self.work) if tool is None else tool.work

    def call(self, position: int, context: StepContext, value: Any) -> Any:
        """Run the function or tool at this position; a coroutine is returned, not awaited."""
        step = self.step_at(position)
        if isinstance(step, Tool):
            return step.call_as_step(context, value)
        takes_context, takes_value = self._takes[position % len(self.steps)]
        return step(*[context] * takes_context, *[value] * takes_value)

    @cached_property
    def has_optional(self) -> bool:
        """Whether any of its steps may be left out."""
        return any(isinstance(step, Tool) and step.optional for step in self.steps)

    @cached_property
    def _takes(self) -> tuple[tuple[bool, bool], ...]:
        """For each function, whether it takes the context, and whether it takes the value."""
        return tuple(_takes(step) for step in self.steps)

    @cached_property
    def version(self) -> str:
        """A fingerprint of its steps in order: their names, and what tools do; jobs pin it."""
        face = "\n".join([self.name, str(self.repeat), *map(_face_of, self.steps)])
        return hashlib.sha256(face.encode()).hexdigest()[:12]

    def goes_on_with(self, version: str) -> bool:
        """Whether a job that pins this version may go on with this code."""
        return is_accepted(version, own=self.version, accepts=self.accepts)


def _name_of(step: Callable[..., Any] | Tool) -> str:
    return step.name if isinstance(step, Tool) else step.__name__


def _face_of(step: Callable[..., Any] | Tool) -> str:
    if isinstance(step, Tool):
        return f"{step.name} {step.effect} {step.idempotency}"
    return step.__name__


def _takes(function: Callable[..., Any]) -> tuple[bool, bool]:
    count = len(inspect.signature(function).parameters)
    if count == 1:
        wants_context = begins_with_context(function)
        return wants_context, not wants_context
    return count > 1, count > 1

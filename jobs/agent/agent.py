"""Agents: a model, instructions, tools and limits, declared once and served by every worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from jobs.agent.budget import Budget, OnBudget, OnUnknownPrice, check_on_budget
from jobs.agent.outside import OnRateLimit, check_on_rate_limit
from jobs.agent.tool import Tool
from jobs.agent.versions import check_accepts, is_accepted
from jobs.errors import Misdeclared
from jobs.guards.guard import Guard
from jobs.guards.shipped import with_shipped
from store.invocation import Invocation
from store.states import StepKind, Work
from store.transitions import Plan

# The name a model calls to give its typed answer.
ANSWER_TOOL = "final_answer"


class Ask(BaseModel):
    """What an agent is asked, when it declares nothing else."""

    model_config = ConfigDict(extra="forbid")

    ask: str = Field(min_length=1, max_length=100_000)


@dataclass(frozen=True, slots=True)
class Limits(Budget):
    """What one job of an agent may use before it is stopped; a deadline is from submission on.

    `output_tokens_max` bounds one answer of the model, which is told so. The others of its budget
    are in `Budget`.
    """

    model_steps_max: int = 50
    tool_calls_per_turn_max: int = 32
    failed_tools_max: int = 10
    model_timeout_s: float | None = None
    deadline_s: float | None = None
    output_tokens_max: int | None = None


@dataclass(frozen=True)
class Agent:
    """A model that works with tools until it has an answer.

    `model` is a name such as `openai:gpt-5-mini`, or any pydantic-ai `Model`; a job or the setting
    `STEPWELL_MODEL` may name another. `offline` is the model used for the name `offline`, or
    a function that makes it: one that needs no key and no network, such as a `FunctionModel`.

    `output_type` is `str` or a pydantic model; `input_type` is what a job has to bring.

    `accepts` are the earlier versions whose jobs this code may go on with; `*` is any.

    `on_rate_limit` says what becomes of a step that is told to slow down: `dead_letter` gives the
    job up, with all that it has done kept; `park` lets the step wait until it may go on.

    `on_budget` says the same of a step that there is too little budget for: `fail`, or `park`,
    until a person has raised it. Where a price is unknown, `estimate` counts with an assumed one;
    `refuse` makes no call for which there is a budget.
    `guards` look at what passes through its jobs, beside those that every agent has; one of the
    same name takes their place. `confidence_min` is the grounded share of the numbers it writes
    below which a job halts for a person, once its model was told what is wrong.
    """

    name: str
    model: str | Model
    instructions: str
    tools: Sequence[Tool] = ()
    input_type: type[BaseModel] = Ask
    output_type: type[Any] = str
    limits: Limits = field(default_factory=Limits)
    offline: Model | Callable[[], Model] | None = None
    description: str = ""
    prompt: Callable[[Any], str] | None = None
    accepts: Sequence[str] = ()
    on_rate_limit: OnRateLimit = "dead_letter"
    on_budget: OnBudget = "fail"
    on_unknown_price: OnUnknownPrice = "estimate"
    guards: Sequence[Guard] = ()
    confidence_min: float = 1.0

    def __post_init__(self) -> None:
        for each in self.tools:
            if not isinstance(each, Tool):
                name = getattr(each, "__name__", repr(each))
                raise Misdeclared(
                    f"{name} of agent {self.name!r} is not a tool. Put @tool(effect=...) above it, "
                    "which says what it does to the world."
                )
        names = [tool.name for tool in self.tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Misdeclared(f"Agent {self.name!r} has two tools named {', '.join(twice)}.")
        if ANSWER_TOOL in names:
            raise Misdeclared(f"{ANSWER_TOOL!r} is the name a model gives its answer by.")
        check_accepts(self.name, self.accepts)
        check_on_rate_limit(self.on_rate_limit)
        check_on_budget(self.on_budget, self.on_unknown_price)
        if not 0 <= self.confidence_min <= 1:
            raise Misdeclared(f"confidence_min={self.confidence_min} is no share from 0 to 1.")
        _ = self.all_guards
        _ = self.answer_tool  # complains now about an output type that cannot be

    @property
    def deadline_s(self) -> float | None:
        return self.limits.deadline_s

    @property
    def step_name(self) -> str:
        return f"model.{self.name}"

    def first_steps(self) -> tuple[Plan, ...]:
        """What a new job of this agent begins with."""
        return (self.model_step(),)

    def model_step(self) -> Plan:
        return Plan(StepKind.MODEL, self.step_name, Work.WAITS)

    def find_tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    def tools_for(self, invocation: Invocation) -> list[Tool]:
        """The tools that a job that came to be so is offered."""
        return [tool for tool in self.tools if tool.why_not_available_to(invocation) is None]

    def write_prompt(self, asked: BaseModel) -> str:
        """What the model is told first, from the job's input."""
        if self.prompt is not None:
            return self.prompt(asked)
        if isinstance(asked, Ask):
            return asked.ask
        return asked.model_dump_json(indent=2)

    @cached_property
    def all_guards(self) -> tuple[Guard, ...]:
        """Those that it declares and those that every agent has, in the order they look."""
        return with_shipped(self.name, self.guards)

    @cached_property
    def outside(self) -> frozenset[str]:
        """The tools whose results nobody here answers for."""
        return frozenset(tool.name for tool in self.tools if not tool.trusted)

    @cached_property
    def has_optional(self) -> bool:
        """Whether any of its tools may be left out."""
        return any(tool.optional for tool in self.tools)

    @cached_property
    def answer(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.output_type)

    @cached_property
    def answer_tool(self) -> ToolDefinition | None:
        """How a model gives a typed answer; None when it answers in text."""
        if self.output_type is str:
            return None
        schema = self.answer.json_schema()
        if schema.get("type") != "object":
            raise Misdeclared(f"The output type of agent {self.name!r} has to be an object or str.")
        return ToolDefinition(
            name=ANSWER_TOOL,
            description=schema.get("description") or "Give the final answer. Ends the work.",
            parameters_json_schema=schema,
            kind="output",
        )

    @cached_property
    def version(self) -> str:
        """A fingerprint of everything a model is shown; jobs pin it."""
        face: list[Any] = [self.name, self.instructions, self.input_type.model_json_schema()]
        face += [[t.name, t.definition.parameters_json_schema] for t in self.tools]
        face += [self.answer.json_schema()]
        return hashlib.sha256(json.dumps(face, sort_keys=True).encode()).hexdigest()[:12]

    def goes_on_with(self, version: str) -> bool:
        """Whether a job that pins this version may go on with this code."""
        return is_accepted(version, own=self.version, accepts=self.accepts)

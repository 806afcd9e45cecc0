"""Tools: typed functions that a model may call, declared with what they do to the world.

The schema a model sees comes from the signature and the docstring. The first parameter may be a
`ToolContext`; the model never sees it. A tool may also be a step of a pipeline, which gives it one
value in place of arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_type_hints, overload
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_ai.tools import Tool as ModelTool
from pydantic_ai.tools import ToolDefinition

from jobs.agent.diary import Diary
from jobs.agent.options import (
    MEMORY_BYTES_MAX,
    Effect,
    Idempotency,
    UnderTaint,
    check_approval,
    check_lookup,
    check_memory,
    check_optional,
    check_options,
)
from jobs.agent.origins import EVERY_ORIGIN, read_origins, why_not_available
from jobs.agent.outside import OnRateLimit, check_dependency, check_on_rate_limit
from jobs.errors import Misdeclared
from jobs.policy.fingerprints import sha256_of
from jobs.policy.rules import Policy, Rule, read_policy
from store.invocation import Invocation
from store.states import Origin, Work

TIMEOUT_S = 60.0
# How long a call waits for people to say yes to it, unless its tool says otherwise: a week.
APPROVAL_S = 7 * 24 * 3600.0


class ToolFailed(Exception):
    """The tool could not do it, for a reason the model can act on; the message is shown to it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup answers when the call did happen: its result, as the tool would return it."""

    result: Any = None


# Asked with the key of a call that may have happened. `Found`: it did; None: it certainly did not;
# whatever it raises: nobody knows.
Lookup = Callable[[str], Found | Awaitable[Found | None] | None]


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """Where some bytes are kept; `sha256` is in hex."""

    id: UUID
    name: str
    media_type: str
    size_bytes: int
    sha256: str


class Shelf(Protocol):
    """The artifacts of one job, as its tools see them."""

    def save(self, name: str, media_type: str, data: bytes | Iterable[bytes]) -> ArtifactRef:
        """Keep bytes under a name; the same step saving the name again replaces them."""
        ...

    def load(self, ref_id: UUID) -> bytes:
        """The bytes of an artifact of this tenant; raises `NotFound`."""
        ...

    def fetch(self, ref_id: UUID) -> Path:
        """A local read-only copy, kept by its hash."""
        ...

    def find(self, name: str) -> ArtifactRef | None:
        """The newest artifact of this job by that name."""
        ...

    def list(self) -> list[ArtifactRef]:
        """Every artifact of this job."""
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the call it serves."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    input: Any
    artifacts: Shelf
    tell: Callable[[str, float | None], None] = field(repr=False)
    # The key of the call that this one repeats in a replayed job.
    effect_key: str | None = None
    # The schedules that this call may make or move, where it may.
    schedules: Diary | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The idempotency key of this call: the same at every try."""
        return self.effect_key or f"{self.job_id}:{self.seq}"

    def progress(self, message: str, done: float | None = None) -> None:
        """Tell whoever watches how far this is; `done` is a share between 0 and 1."""
        self.tell(message, done)


@dataclass(frozen=True)
class Tool:
    """A function as a tool. Make one with `@tool`; it can still be called as the function it is."""

    function: Callable[..., Any]
    name: str
    effect: Effect
    idempotency: Idempotency
    work: Work
    timeout_s: float
    lookup: Lookup | None = None
    process: bool = False
    memory_bytes_max: int = MEMORY_BYTES_MAX
    dependency: str | None = None
    on_rate_limit: OnRateLimit | None = None
    optional: bool = False
    budget_s: float | None = None
    origins: frozenset[Origin] = EVERY_ORIGIN
    policy: tuple[Rule, ...] | None = None
    approval_s: float = APPROVAL_S
    unapproved: Literal["reject", "approve"] = "reject"
    trusted: bool = True
    under_taint: UnderTaint = "confirm"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def takes_context(self) -> bool:
        return begins_with_context(self.function)

    @property
    def may_ride(self) -> bool:
        """Whether a quick call may run inside another step's Celery task."""
        return self.effect == "read" and self.work is Work.WAITS

    @property
    def limit_s(self) -> float:
        """Seconds after which a call is given up: its timeout, or its budget where that is less."""
        return self.timeout_s if self.budget_s is None else min(self.timeout_s, self.budget_s)

    def why_not_available_to(self, invocation: Invocation) -> str | None:
        """Why a job that came to be so may not call it; None when it may."""
        return why_not_available(self.name, self.origins, invocation)

    @cached_property
    def definition(self) -> ToolDefinition:
        """What the model is shown."""
        return self._model_tool.tool_def

    @cached_property
    def sha256(self) -> str:
        """A fingerprint of what whoever approves a call of it approves: its face and its effect."""
        face = self.definition
        told = [face.name, face.description, face.parameters_json_schema]
        return sha256_of([*told, self.effect, self.idempotency, self.dependency])

    def with_policy(self, policy: Policy | None) -> Tool:
        """The same tool under other rules, for one agent; raises `Misdeclared`."""
        return replace(self, policy=read_policy(policy, self._arguments))

    def validate(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments as typed values; raises `pydantic.ValidationError`."""
        return dict(self._model_tool.function_schema.validator.validate_python(args))

    def call_with(self, context: ToolContext, args: dict[str, Any]) -> Any:
        """Call it with validated arguments; a coroutine is returned, not awaited."""
        return self.function(*[context][: self.takes_context], **args)

    def call_as_step(self, context: ToolContext, value: Any) -> Any:
        """Call it as a step of a pipeline, with the value as what its parameter is declared to be.

        A coroutine is returned, not awaited. Raises `pydantic.ValidationError`.
        """
        values = self.values_as_step(value).values()
        return self.function(*[context][: self.takes_context], *values)

    def values_as_step(self, value: Any) -> dict[str, Any]:
        """What it is called with as a step of a pipeline, by name; raises `ValidationError`."""
        if self._value_type is None:
            return {}
        return {self._values[0].name: self._value_type.validate_python(value)}

    def check_as_step(self) -> None:
        """Raise `Misdeclared` unless it can be a step of a pipeline."""
        needed = [p.name for p in self._values if p.default is p.empty or p is self._values[0]]
        if len(needed) > 1:
            raise Misdeclared(
                f"Tool {self.name!r} takes {len(needed)} values ({', '.join(needed)}); a step of a "
                "pipeline is given one. A first parameter for the context is declared as one: "
                "ctx: ToolContext."
            )
        try:
            _ = self._value_type
        except Exception as error:
            raise Misdeclared(f"Tool {self.name!r} cannot be a step: {error}") from error

    @property
    def _arguments(self) -> list[str]:
        return [parameter.name for parameter in self._values]

    @property
    def _values(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())[self.takes_context :]

    @cached_property
    def _value_type(self) -> TypeAdapter[Any] | None:
        """What a value has to be as a step of a pipeline, or None when the tool takes none."""
        if not self._values:
            return None
        hints = get_type_hints(self.function, include_extras=True)
        return TypeAdapter(hints.get(self._values[0].name, Any))

    @cached_property
    def _model_tool(self) -> ModelTool[None]:
        shown = _without_context(self.function) if self.takes_context else self.function
        return ModelTool(shown, takes_ctx=False, name=self.name)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    effect: Effect = ...,
    idempotency: Idempotency | None = ...,
    work: Literal["waits", "computes"] = ...,
    timeout_s: float = ...,
    name: str | None = ...,
    lookup: Lookup | None = ...,
    process: bool = ...,
    memory_bytes_max: int | None = ...,
    dependency: str | None = ...,
    on_rate_limit: OnRateLimit | None = ...,
    optional: bool = ...,
    budget_s: float | None = ...,
    origins: Iterable[Origin | str] | None = ...,
    policy: Policy | None = ...,
    approval_s: float = ...,
    unapproved: Literal["reject", "approve"] = ...,
    trusted: bool = ...,
    under_taint: UnderTaint = ...,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "external",
    idempotency: Idempotency | None = None,
    work: Literal["waits", "computes"] = "waits",
    timeout_s: float = TIMEOUT_S,
    name: str | None = None,
    lookup: Lookup | None = None,
    process: bool = False,
    memory_bytes_max: int | None = None,
    dependency: str | None = None,
    on_rate_limit: OnRateLimit | None = None,
    optional: bool = False,
    budget_s: float | None = None,
    origins: Iterable[Origin | str] | None = None,
    policy: Policy | None = None,
    approval_s: float = APPROVAL_S,
    unapproved: Literal["reject", "approve"] = "reject",
    trusted: bool = True,
    under_taint: UnderTaint = "confirm",
) -> Any:
    """Make a tool of a typed function.

    Args:
        function: the function itself, when used without arguments.
        effect: what a call does to the world: `read` changes nothing, `write` changes what is
            ours, `external` changes what is not. Undeclared means the worst.
        idempotency: what a second call with the same arguments does: `safe` nothing more, `key`
            nothing more when it is given the same `ToolContext.key`, `none` the effect again.
            A read is safe by itself; anything else that says nothing is `none`.
        work: whether a call `waits` for others or `computes`; computing has workers of its own.
        timeout_s: seconds after which the step is given up.
        name: what the model calls it; the function's name by default.
        lookup: asked with the key of a call whose worker died, whether the call happened; returns
            `Found(result)` when it did, None when it certainly did not, and raises when it cannot
            tell. May be a coroutine function. It runs in the worker, also for a `process`.
        process: run each call in a child process, which is killed at `timeout_s`. That costs about
            a second. The function is a plain one at the top of a module that can be imported; its
            context has no artifacts; arguments and result cross as JSON.
        memory_bytes_max: how much memory such a child may ask for, in bytes; 1 GiB by default.
        dependency: what outside of here it calls, in a short word such as `crm`. All calls of one
            dependency, of whatever tool and tenant, share a gate that keeps it from being flooded.
        on_rate_limit: what becomes of a step that is told to slow down: `dead_letter` gives it up,
            `park` lets it wait. What its agent or pipeline says, by default.
        optional: the job can do without it: a call that fails, takes longer than its budget, or
            has no room is left out, and the job says so.
        budget_s: seconds after which an optional call is left out; its timeout by default.
        origins: through which doors a job must have come, it and all above it in its line, for the
            tool to be available to it; any, by default. `agent` counts as named.
        policy: the rules that say which calls somebody has to confirm or approve, and which are
            not made; an empty list (`ALLOW`) lets every call through. See docs/policy.md.
        approval_s: seconds that a call waits for that yes.
        unapproved: what becomes of a call that nobody has decided about in time: `reject`, or
            `approve`.
        trusted: whether somebody here answers for what it returns. Of what comes from outside
            (cells of a table, mail, pages) say False: the model is shown it as data, and its job
            is tainted from then on.
        under_taint: what a call that changes something needs in a tainted job: `confirm` by a
            person, or `allow`, where it does no harm whatever its arguments are.

    Raises `Misdeclared` for options that cannot be, and for a function no schema can be made of.
    """

    check_options(effect, idempotency, work, timeout_s, under_taint)
    check_approval(approval_s, unapproved)
    check_lookup(effect, lookup)
    check_memory(process, memory_bytes_max)
    check_dependency(dependency)
    check_on_rate_limit(on_rate_limit)
    check_optional(optional, budget_s, idempotency or ("safe" if effect == "read" else "none"))
    available = read_origins(origins)

    def make(declared: Callable[..., Any]) -> Tool:
        if process:
            _check_child_can_find(declared)
        made = Tool(
            function=declared,
            name=name or declared.__name__,
            effect=effect,
            idempotency=idempotency or ("safe" if effect == "read" else "none"),
            work=Work(work),
            timeout_s=timeout_s,
            lookup=lookup,
            process=process,
            memory_bytes_max=memory_bytes_max or MEMORY_BYTES_MAX,
            dependency=dependency,
            on_rate_limit=on_rate_limit,
            optional=optional,
            budget_s=budget_s,
            origins=available,
            approval_s=approval_s,
            unapproved=unapproved,
            trusted=trusted,
            under_taint=under_taint,
        )
        try:
            _ = made.definition
        except Exception as error:
            raise Misdeclared(f"{declared.__qualname__} cannot be a tool: {error}") from error
        return made if policy is None else made.with_policy(policy)

    return make if function is None else make(function)


def _check_child_can_find(function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function):
        raise Misdeclared(
            f"{function.__qualname__} is a coroutine function; a tool in a process is a plain one."
        )
    if not function.__qualname__.isidentifier():
        raise Misdeclared(
            f"{function.__qualname__} cannot be found by a child process. Put it at the top of its "
            "module, under its own name."
        )


def begins_with_context(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is declared as a `ToolContext` (or `StepContext`, its twin)."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None:
        return False
    declared = first.annotation
    if isinstance(declared, str):
        return declared.split(".")[-1] in ("ToolContext", "StepContext")
    return declared is ToolContext


def _without_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same face without its first parameter, for making the schema; never called."""

    def face(**_: Any) -> None:
        raise AssertionError("only the signature of this function is used")

    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in list(signature.parameters.values())[1:]
    ]
    # `inspect` looks for this attribute; the type of a function does not list it.
    face.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    face.__annotations__ = {p.name: p.annotation for p in parameters}
    face.__doc__ = function.__doc__
    face.__name__ = function.__name__
    face.__qualname__ = function.__qualname__
    face.__module__ = function.__module__
    return face

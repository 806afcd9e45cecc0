"""Tools: typed functions that a model may call, declared with what they do to the world.

The schema a model sees comes from the signature and the docstring. The first parameter may be a
`ToolContext`; the model never sees it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_type_hints, overload
from uuid import UUID

from pydantic_ai.tools import Tool as ModelTool
from pydantic_ai.tools import ToolDefinition

from jobs.errors import Misdeclared
from store.states import Work

Effect = Literal["read", "write", "external"]
Idempotency = Literal["safe", "key", "none"]

TIMEOUT_S = 60.0


class ToolFailed(Exception):
    """The tool could not do it, for a reason the model can act on; the message is shown to it."""


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

    @property
    def key(self) -> str:
        """The idempotency key of this call: the same at every try."""
        return f"{self.job_id}:{self.seq}"

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def takes_context(self) -> bool:
        return begins_with_context(self.function)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def may_ride(self) -> bool:
        """Whether a quick call may run inside another step's Celery task."""
        return self.effect == "read" and self.work is Work.WAITS

    @cached_property
    def definition(self) -> ToolDefinition:
        """What the model is shown."""
        return self._model_tool.tool_def

    def validate(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments as typed values; raises `pydantic.ValidationError`."""
        return dict(self._model_tool.function_schema.validator.validate_python(args))

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

    Raises `Misdeclared` for a function that no schema can be made of.
    """

    _check_options(effect, idempotency, work, timeout_s)

    def make(declared: Callable[..., Any]) -> Tool:
        made = Tool(
            function=declared,
            name=name or declared.__name__,
            effect=effect,
            idempotency=idempotency or ("safe" if effect == "read" else "none"),
            work=Work(work),
            timeout_s=timeout_s,
        )
        try:
            _ = made.definition
        except Exception as error:
            raise Misdeclared(f"{declared.__qualname__} cannot be a tool: {error}") from error
        return made

    return make if function is None else make(function)


def _check_options(effect: str, idempotency: str | None, work: str, timeout_s: float) -> None:
    # A slip here would decide whether a call may happen twice.
    for given, known in (
        (effect, get_args(Effect)),
        (idempotency, (None, *get_args(Idempotency))),
        (work, tuple(Work)),
    ):
        if given not in known:
            raise Misdeclared(f"{given!r} is none of {', '.join(str(e) for e in known if e)}.")
    if timeout_s <= 0:
        raise Misdeclared(f"A tool cannot be given up after {timeout_s} seconds.")


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

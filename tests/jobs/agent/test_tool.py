"""Tools: what a function's signature and docstring become, and what is refused at declaration."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError

from jobs import Found, Tool, ToolContext, tool
from jobs.errors import Misdeclared
from store.states import Work


class Point(BaseModel):
    """A place."""

    x: float
    y: float = 0.0


@tool(effect="read")
def measure(
    ctx: ToolContext,
    at: Point,
    unit: Literal["m", "km"] = "m",
    times: Annotated[int, Field(ge=1, le=3)] = 1,
) -> float:
    """Measure something somewhere.

    Args:
        at: where to measure.
        unit: what to measure in.
    """
    return at.x * times


def test_a_model_is_shown_the_parameters_their_types_and_what_is_said_of_them() -> None:
    shown = measure.definition
    assert shown.name == "measure"
    assert shown.description == "Measure something somewhere."
    schema = shown.parameters_json_schema
    assert list(schema["properties"]) == ["at", "unit", "times"]
    assert schema["required"] == ["at"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["unit"]["enum"] == ["m", "km"]
    assert schema["properties"]["unit"]["description"] == "what to measure in."
    assert (schema["properties"]["times"]["minimum"], schema["properties"]["times"]["maximum"]) == (
        1,
        3,
    )


def test_the_context_is_never_shown() -> None:
    assert measure.takes_context
    assert "ctx" not in str(measure.definition.parameters_json_schema)


def test_arguments_become_typed_values_with_their_defaults() -> None:
    args = measure.validate({"at": {"x": "2.5"}})
    assert isinstance(args["at"], Point)
    assert args["at"].x == 2.5
    assert measure.function(None, **args) == 2.5


@pytest.mark.parametrize(
    "args", [{}, {"at": {}}, {"at": {"x": 1}, "unit": "mile"}, {"at": {"x": 1}, "times": 4}]
)
def test_arguments_that_do_not_fit_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        measure.validate(args)


def test_a_single_model_parameter_arrives_as_that_model() -> None:
    @tool(effect="read")
    def go(ctx: ToolContext, to: Point) -> float:
        """Go there."""
        return to.x

    assert list(go.definition.parameters_json_schema["properties"]) == ["x", "y"]
    assert go.validate({"x": 1}) == {"to": Point(x=1)}


def test_a_single_plain_parameter_arrives_by_its_name() -> None:
    @tool(effect="read")
    def say(words: list[str]) -> None:
        """Say them."""

    assert say.validate({"words": ["a"]}) == {"words": ["a"]}


def test_a_tool_is_still_the_function_it_was_made_of() -> None:
    @tool
    def double(n: int) -> int:
        """Twice as much."""
        return n * 2

    assert isinstance(double, Tool)
    assert double(4) == 8


def test_undeclared_means_the_worst() -> None:
    @tool
    def unknown() -> None:
        """Who knows."""

    assert (unknown.effect, unknown.idempotency, unknown.may_ride) == ("external", "none", False)


@pytest.mark.parametrize(
    ("effect", "work", "idempotency", "may_ride"),
    [
        ("read", "waits", "safe", True),
        ("read", "computes", "safe", False),
        ("write", "waits", "none", False),
        ("external", "waits", "none", False),
    ],
)
def test_what_a_declaration_means(effect: Any, work: Any, idempotency: str, may_ride: bool) -> None:
    @tool(effect=effect, work=work)
    def some() -> None:
        """Do it."""

    assert (some.idempotency, some.work, some.may_ride) == (idempotency, Work(work), may_ride)


def test_another_name_is_the_one_a_model_calls() -> None:
    @tool(effect="read", name="look_up")
    def find() -> None:
        """Look it up."""

    assert find.definition.name == find.name == "look_up"


def test_coroutines_are_tools() -> None:
    @tool(effect="read")
    async def later(ctx: ToolContext, n: int) -> int:
        """Later."""
        return n

    assert later.takes_context
    assert list(later.definition.parameters_json_schema["properties"]) == ["n"]


def test_what_no_schema_can_be_made_of_is_refused_by_name() -> None:
    with pytest.raises(Misdeclared, match="impossible"):

        @tool(effect="read")
        def impossible(thing: Unpicturable) -> None:
            """No."""


class Unpicturable:
    """A class that pydantic knows nothing of."""


@pytest.mark.parametrize(
    ("option", "value"),
    [("effect", "none"), ("idempotency", "maybe"), ("work", "sleeps"), ("timeout_s", 0)],
)
def test_an_option_that_does_not_exist_is_refused(option: str, value: Any) -> None:
    """A typing error here would decide whether a call may happen twice."""
    with pytest.raises(Misdeclared, match=str(value)):
        tool(**{option: value})(lambda: None)


def was_sent(key: str) -> Found | None:
    return Found({"key": key}) if key else None


async def was_sent_later(key: str) -> Found | None:
    raise ConnectionError("nobody knows")


@pytest.mark.parametrize("effect", ["write", "external"])
@pytest.mark.parametrize("lookup", [was_sent, was_sent_later, lambda key, retries=3: None])
def test_what_changes_the_world_may_be_looked_up(effect: Any, lookup: Any) -> None:
    @tool(effect=effect, lookup=lookup)
    def send() -> None:
        """Send it."""

    assert send.lookup is lookup


def test_a_read_has_nothing_to_look_up() -> None:
    with pytest.raises(Misdeclared, match="A read changes nothing"):
        tool(effect="read", lookup=was_sent)


@pytest.mark.parametrize("lookup", ["was_sent", lambda: None, lambda key, more: None])
def test_a_lookup_is_a_function_of_one_key(lookup: Any) -> None:
    with pytest.raises(Misdeclared, match="a function of one key"):
        tool(effect="write", lookup=lookup)


def compute(n: int) -> int:
    """Compute."""
    return n


async def compute_later(n: int) -> int:
    """Compute later."""
    return n


def test_a_tool_in_a_process_has_a_memory_of_its_own() -> None:
    assert tool(effect="read")(compute).process is False
    made = tool(effect="read", process=True)(compute)
    assert (made.process, made.memory_bytes_max) == (True, 2**30)
    assert tool(process=True, memory_bytes_max=2**28)(compute).memory_bytes_max == 2**28
    with pytest.raises(Misdeclared, match="needs process=True"):
        tool(memory_bytes_max=2**28)
    with pytest.raises(Misdeclared, match="cannot start in 1,024 bytes"):
        tool(process=True, memory_bytes_max=1024)


def test_a_coroutine_function_cannot_run_in_a_process() -> None:
    with pytest.raises(Misdeclared, match="compute_later is a coroutine function"):
        tool(process=True)(compute_later)


def test_the_key_names_the_call_unless_it_repeats_another() -> None:
    def key_of(**more: str) -> str:
        return ToolContext(UUID(int=1), UUID(int=2), 7, None, None, print, **more).key  # type: ignore[arg-type]

    assert key_of() == f"{UUID(int=2)}:7"
    assert key_of(effect_key="older:3") == "older:3"

"""Pipelines: what a step is given, what a tool brings along, and what a version stands for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jobs import Agent, Found, Pipeline, ToolContext, tool
from jobs.errors import Misdeclared
from store.states import Work

CONTEXT: Any = "the context"


class Order(BaseModel):
    """What was ordered."""

    number: str
    paid_usd: float = 0.0


def collect(asked: Any) -> Any:
    return asked


def was_paid(key: str) -> Found | None:
    return Found(key)


@tool(
    effect="external",
    idempotency="key",
    work="computes",
    timeout_s=5,
    lookup=was_paid,
    name="pay_back",
)
def refund(ctx: ToolContext, order: Order) -> Any:
    """Pay it back."""
    return ctx, order


@tool(effect="read")
def anything(value: Any) -> Any:
    """Take anything."""
    return value


@tool(effect="read")
def untyped(ctx: ToolContext, value):  # type: ignore[no-untyped-def]
    """Take whatever that is."""
    return ctx, value


@tool(effect="write")
def nothing() -> str:
    """Take nothing."""
    return "nothing"


@tool(effect="write", idempotency="safe")
def only_context(ctx: ToolContext) -> Any:
    """Take the context."""
    return ctx


@tool(effect="read")
def with_a_default(value: str, times: int = 2) -> str:
    """Repeat it."""
    return value * times


LINE = Pipeline("line", [collect, refund, anything, untyped, nothing, only_context], timeout_s=30)


def test_a_tool_brings_its_timeout_its_work_and_its_name_along() -> None:
    assert [LINE.tool_at(n) for n in range(3)] == [None, refund, anything]
    assert [LINE.timeout_at(n) for n in range(3)] == [30, 5, 60]
    assert [LINE.work_at(n) for n in range(2)] == [Work.WAITS, Work.COMPUTES]
    planned = LINE.step_after(0)
    assert planned is not None
    assert (planned.name, planned.work) == ("step.line.pay_back", Work.COMPUTES)
    assert LINE.first_steps()[0].name == LINE.name_at(0) == "step.line.collect"


def test_a_pipeline_that_repeats_finds_the_same_tool_every_time_round() -> None:
    twice = Pipeline("twice", [collect, refund], repeat=2)
    assert [twice.tool_at(n) for n in range(4)] == [None, refund, None, refund]
    assert twice.timeout_at(3) == 5


def test_a_tool_is_given_the_value_as_the_type_it_declares() -> None:
    value = {"number": "A-17", "paid_usd": "49.9"}
    assert LINE.call(1, CONTEXT, value) == (CONTEXT, Order(number="A-17", paid_usd=49.9))
    with pytest.raises(ValidationError, match="number"):
        LINE.call(1, CONTEXT, {})


def test_a_tool_that_declares_no_type_is_given_the_value_as_it_is() -> None:
    value = {"any": ["thing"]}
    assert LINE.call(2, CONTEXT, value) == value
    assert LINE.call(3, CONTEXT, value) == (CONTEXT, value)


def test_a_tool_may_take_no_value() -> None:
    assert LINE.call(4, CONTEXT, "value") == "nothing"
    assert LINE.call(5, CONTEXT, "value") == CONTEXT


def test_what_has_a_default_is_left_to_it() -> None:
    assert Pipeline("p", [with_a_default]).call(0, CONTEXT, "ha") == "haha"


def test_a_tool_of_several_values_is_refused_at_declaration() -> None:
    @tool(effect="read")
    def measure(ctx, value):  # type: ignore[no-untyped-def]
        """The context is not declared as one."""

    with pytest.raises(Misdeclared, match=r"takes 2 values \(ctx, value\).*ctx: ToolContext"):
        Pipeline("p", [collect, measure])


def test_a_tool_and_a_function_of_one_name_are_refused() -> None:
    def pay_back() -> None:
        """Not the tool."""

    with pytest.raises(Misdeclared, match="two steps of the same name"):
        Pipeline("p", [pay_back, refund])


def test_the_version_stands_for_what_its_tools_do_to_the_world() -> None:
    def version_of(**options: Any) -> str:
        @tool(name="pay", **options)
        def pay(value: Any) -> None:
            """Pay."""

        return Pipeline("p", [collect, pay]).version

    def pay() -> None:
        """Not a tool."""

    versions = [
        version_of(effect="external"),
        version_of(effect="write"),
        version_of(effect="external", idempotency="key"),
        Pipeline("p", [collect, pay]).version,
        Pipeline("p", [pay, collect]).version,
    ]
    assert len(set(versions)) == 5
    assert version_of(effect="external", timeout_s=5, work="computes") == versions[0]


def test_a_pipeline_without_tools_keeps_the_version_it_always_had() -> None:
    assert Pipeline("p", [collect, was_paid]).version == "7cbc249b28b2"


@pytest.mark.parametrize("kind", ["agent", "pipeline"])
def test_code_goes_on_with_its_own_version_and_those_it_accepts(kind: str) -> None:
    def declare(*accepts: str) -> Agent | Pipeline:
        if kind == "agent":
            return Agent("a", "offline", "", accepts=accepts)
        return Pipeline("p", [collect], accepts=accepts)

    alone, some, any_at_all = declare(), declare("aaa", "bbb"), declare("*")
    assert alone.version == some.version == any_at_all.version
    assert [p.goes_on_with(alone.version) for p in (alone, some, any_at_all)] == [True] * 3
    assert [p.goes_on_with("bbb") for p in (alone, some, any_at_all)] == [False, True, True]
    assert [p.goes_on_with("ccc") for p in (alone, some, any_at_all)] == [False, False, True]


@pytest.mark.parametrize("accepts", ["*", "abc", ["abc", ""], [7]])
def test_what_is_accepted_is_a_list_of_versions(accepts: Any) -> None:
    with pytest.raises(Misdeclared, match="a list of versions"):
        Pipeline("p", [collect], accepts=accepts)
    with pytest.raises(Misdeclared, match="a list of versions"):
        Agent("a", "offline", "", accepts=accepts)

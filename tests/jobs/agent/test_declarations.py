"""What can be told at declaration is told there, in words that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.models.function import FunctionModel

from jobs import Agent, Pipeline, StepContext, ToolContext, tool
from jobs.agent.model import CALLS_PER_CLIENT, Models
from jobs.errors import Misdeclared, UnknownModel
from jobs.settings import Settings


def plain(word: str) -> str:
    """Say it."""
    return word


def test_a_function_that_is_no_tool_is_told_how_to_become_one() -> None:
    with pytest.raises(Misdeclared, match=r"plain of agent 'a' is not a tool. Put @tool\(effect="):
        Agent(name="a", model="offline", instructions="", tools=[plain])  # type: ignore[list-item]


def test_an_output_type_that_no_model_can_answer_is_refused_at_once() -> None:
    with pytest.raises(Misdeclared, match="has to be an object or str"):
        Agent(name="a", model="offline", instructions="", output_type=list[int])


@pytest.mark.parametrize("annotation", [ToolContext, "ToolContext", "jobs.StepContext"])
def test_a_context_is_found_however_it_is_written(annotation: Any) -> None:
    def look(ctx, where: str) -> str:  # type: ignore[no-untyped-def]
        """Look."""
        return where

    look.__annotations__["ctx"] = annotation
    if isinstance(annotation, str):
        look.__globals__.setdefault("jobs", __import__("jobs"))
    made = tool(effect="read")(look)
    assert made.takes_context
    assert list(made.definition.parameters_json_schema["properties"]) == ["where"]


def test_a_step_of_a_pipeline_is_given_what_it_declares() -> None:
    def nothing() -> str:
        return "nothing"

    def value(given: Any) -> Any:
        return given

    def context(ctx: StepContext) -> Any:
        return ctx

    def both(ctx: Any, given: Any) -> Any:
        return ctx, given

    line = Pipeline(name="p", steps=[nothing, value, context, both], work="computes")
    told: Any = "the context"
    assert [line.call(n, told, "the value") for n in range(4)] == [
        "nothing",
        "the value",
        "the context",
        ("the context", "the value"),
    ]
    assert line.first_steps()[0].work.value == "computes"


def borrow_many(models: Models, agent: Agent, calls: int) -> list[Any]:
    loans = [models.borrow(agent, None) for _ in range(calls)]
    lent = [loan.__enter__() for loan in loans]
    for loan in loans:
        loan.__exit__(None, None, None)
    return lent


def test_few_calls_share_a_client_and_many_get_another() -> None:
    models = Models(Settings(model_base_url="http://127.0.0.1:1/v1"))
    agent = Agent(name="a", model="openai:m", instructions="")
    lent = borrow_many(models, agent, CALLS_PER_CLIENT + 1)
    assert len({id(model) for model in lent[:-1]}) == 1
    assert lent[-1] is not lent[0]
    with models.borrow(agent, None) as again:
        assert again is lent[0], "what was given back is used again"


def test_an_offline_model_may_be_given_or_made() -> None:
    model = FunctionModel(lambda messages, info: None)  # type: ignore[arg-type, return-value]
    given = Agent(name="given", model="offline", instructions="", offline=model)
    made = Agent(name="made", model="offline", instructions="", offline=lambda: model)
    none = Agent(name="none", model="offline", instructions="")
    models = Models(Settings())
    for agent in (given, made):
        with models.borrow(agent, None) as lent:
            assert lent is model
    with pytest.raises(UnknownModel, match="has no offline model"), models.borrow(none, None):
        pass

"""Agents and pipelines with budgets, for tests of what becomes of those who reach them."""

from __future__ import annotations

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from jobs import Agent, Budget, Limits, Pipeline
from tests.programs import (
    Script,
    Walk,
    Wishes,
    add,
    begin_wishing,
    echo,
    first,
    follow_script,
    go_on_wishing,
    post,
    second,
    tell_wish,
    third,
)

# 1,000 tokens in and 200 out, by the bundled list: what every call of `priced` and its kin costs.
PRICE_USD = "0.00065"
TOKENS_IN, TOKENS_OUT = 1_000, 200


def follow_for_money(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """The script, as told by a provider that says what it took."""
    response = follow_script(messages, info)
    response.usage = RequestUsage(input_tokens=TOKENS_IN, output_tokens=TOKENS_OUT)
    response.provider_name = "openai"
    return response


def _paid() -> FunctionModel:
    return FunctionModel(follow_for_money, model_name="gpt-5-mini")


def _free() -> FunctionModel:
    """Nobody knows what this one costs."""
    return FunctionModel(follow_script, model_name="made-up")


TOOLS = (add, echo, post)

priced = Agent(
    name="priced",
    model=_paid(),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    limits=Limits(cost_usd_max="1.00", tokens_max=100_000, output_tokens_max=500),
)
two_steps = Agent(
    name="two_steps",
    model=_paid(),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    limits=Limits(steps_max=2),
)
asking = Agent(
    name="asking",
    model=_paid(),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    limits=Limits(steps_max=2),
    on_budget="park",
)
unpriced = Agent(
    name="unpriced",
    model=_free(),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    limits=Limits(cost_usd_max=1, output_tokens_max=500),
)
refusing = Agent(
    name="refusing",
    model=_free(),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    limits=Limits(cost_usd_max=1),
    on_unknown_price="refuse",
)
short_walk = Pipeline(
    name="short_walk",
    steps=[first, second, third],
    input_type=Walk,
    limits=Budget(steps_max=2, wall_clock_s=3600),
)
parent = Pipeline(
    name="parent",
    steps=[begin_wishing, go_on_wishing, tell_wish],
    input_type=Wishes,
    limits=Budget(cost_usd_max="0.30", tree_steps_max=20),
)

"""Agents that talk to a real provider, for tests and benchmarks of the engine over HTTP."""

from __future__ import annotations

import os

from pydantic import BaseModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from jobs import Agent, Limits, ToolFailed, tool

MODEL = "openai:test-model"
WEIGHTS_KG = {"anvil": 45.0, "feather": 0.01}


class Weight(BaseModel):
    """What something weighs."""

    thing: str
    kg: float


class Heaviest(BaseModel):
    """Which of the things is the heaviest."""

    thing: str
    kg: float


@tool(effect="read")
def weigh(thing: str) -> Weight:
    """Put something on the scales.

    Args:
        thing: what to weigh.
    """
    if thing not in WEIGHTS_KG:
        raise ToolFailed(f"There is no {thing} here.")
    return Weight(thing=thing, kg=WEIGHTS_KG[thing])


caller = Agent(name="caller", model=MODEL, instructions="Answer in a word.")
weigher = Agent(
    name="weigher",
    model=MODEL,
    instructions="Find the heaviest.",
    tools=[weigh],
    output_type=Heaviest,
    limits=Limits(failed_tools_max=3),
)


def _model_at(port: str) -> OpenAIChatModel:
    url = f"http://127.0.0.1:{port}/v1"
    return OpenAIChatModel("test-model", provider=OpenAIProvider(base_url=url, api_key="unused"))


# An agent with a model of its own making, at an address where a test may have nobody listen.
stranded = Agent(
    name="stranded",
    model=_model_at(os.environ.get("TEST_STRANDED_PORT", "1")),
    instructions="Answer in a word.",
)

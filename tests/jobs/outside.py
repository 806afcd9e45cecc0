"""Agents that call things outside, for tests of what is told about dependencies."""

from __future__ import annotations

from typing import Any

from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.agent.tool import tool


@tool(effect="read", dependency="crm")
def look_up(name: str) -> str:
    """Look somebody up.

    Args:
        name: whom.
    """
    return name


@tool(effect="read", dependency="weather", optional=True, budget_s=1.0)
def add_weather(value: Any) -> Any:
    """Add the weather to it.

    Args:
        value: to what.
    """
    return value


def pass_on(value: Any) -> Any:
    return value


OUTSIDE = (
    Agent(name="helper", model="openai:gpt-5-mini", instructions="Help.", tools=[look_up]),
    Agent(name="hermit", model="offline", instructions="Think."),
    Pipeline(name="enrich", steps=[pass_on, look_up, add_weather]),
)

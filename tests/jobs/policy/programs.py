"""Agents whose calls are judged: two that pay under a rule, and two tools of the same name."""

from __future__ import annotations

from jobs import Agent, Pipeline, confirm_if, tool


@tool(
    effect="external",
    policy=[confirm_if(lambda amount, **_: amount > 100, name="large", reason="It is a lot.")],
)
def pay(amount: float, to: str = "ann") -> str:
    """Pay somebody."""
    return to


@tool(effect="write")
def note(text: str) -> str:
    """Write it down."""
    return text


@tool(effect="read", name="note")
def note_of_another(text: str) -> str:
    """Read it."""
    return text


AGENTS = (
    Agent(name="clerk", model="offline", instructions="", tools=[pay, note]),
    Agent(name="cashier", model="offline", instructions="", tools=[pay]),
    Pipeline(name="line", steps=[note_of_another]),
)

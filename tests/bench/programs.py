"""What the benchmark runs: steps that do nothing, and an agent whose model takes its time."""

from __future__ import annotations

from typing import Any

from jobs import Agent, Pipeline


def tick(value: dict[str, Any]) -> dict[str, int]:
    """The smallest step: it counts."""
    return {"n": value.get("n", 0) + 1}


short = Pipeline(name="short", steps=[tick], repeat=100)
long = Pipeline(name="long", steps=[tick], repeat=1010)
caller = Agent(name="caller", model="openai:slow", instructions="Answer.")

"""An agent that asks its model once and is done, for tests and benchmarks of many calls."""

from __future__ import annotations

from jobs import Agent

caller = Agent(name="caller", model="openai:test-model", instructions="Answer in a word.")

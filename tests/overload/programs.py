"""The agents that are asked for: they talk to the provider, and do what it says."""

from __future__ import annotations

import os
from functools import cache

import httpx

from jobs import Agent, tool

MODEL = "openai:fake"
CRM_S_MAX = 60.0
CALLS_AT_ONCE_MAX = 100


@tool(effect="read")
def look_up(token: str) -> str:
    """Look something up that is at hand.

    Args:
        token: what the job is called.
    """
    return f"what there is on {token}"


@tool(effect="read", dependency="crm")
def consult(token: str) -> str:
    """Ask another system, which takes its time.

    Args:
        token: what the job is called.
    """
    answer = _line_to_the_crm().post("/crm", json={"token": token})
    return str(answer.raise_for_status().json()["found"])


@cache
def _line_to_the_crm() -> httpx.Client:
    limits = httpx.Limits(max_connections=CALLS_AT_ONCE_MAX)
    return httpx.Client(
        base_url=os.environ["OVERLOAD_PROVIDER"],
        limits=limits,
        timeout=CRM_S_MAX,
        trust_env=False,
    )


chat = Agent(name="chat", model=MODEL, instructions="Answer in a word.")
report = Agent(name="report", model=MODEL, instructions="Write a report.", tools=[look_up])
digest = Agent(name="digest", model=MODEL, instructions="Sum it all up.", tools=[look_up])
clerk = Agent(name="clerk", model=MODEL, instructions="Find the customer.", tools=[consult])

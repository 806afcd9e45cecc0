"""Agents and pipelines that call something outside: one HTTP server, at the address of a test."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import httpx
from pydantic_ai.models.function import FunctionModel

from jobs import Agent, Pipeline, ToolFailed, tool
from tests.programs import Script, follow_script, note, pass_gate


def call(what: str) -> str:
    """Ask the server for it; raises what httpx raises."""
    note(what)
    answer = httpx.get(f"{os.environ['TEST_CRM_URL']}/{what}", timeout=10)
    answer.raise_for_status()
    return f"{what} done"


@tool(effect="read", dependency="crm")
def look() -> str:
    """Look somebody up."""
    return call("look")


@tool(effect="external", idempotency="none", dependency="crm", policy=[])
def charge() -> str:
    """Take money."""
    return call("charge")


@tool(effect="external", idempotency="none", dependency="crm", on_rate_limit="park", policy=[])
def charge_patiently() -> str:
    """Take money, whenever it may be."""
    return call("charge")


@tool(effect="read", dependency="crm", timeout_s=0.5)
def hang() -> str:
    """Wait for longer than allowed."""
    note("hang")
    pass_gate("hang")
    return "too late"


@tool(effect="read", dependency="crm", timeout_s=0.5)
def hang_deaf() -> str:
    """Wait inside C code, where nothing can be thrown at it, for what is never said."""
    with socket.create_connection(("127.0.0.1", int(os.environ["TEST_SILENT_PORT"]))) as wire:
        return wire.recv(1).decode()


@tool(effect="read", dependency="crm", timeout_s=60)
def hang_for_long() -> str:
    """Wait for longer than anybody has time."""
    pass_gate("hang")
    return "too late"


@tool(effect="read", dependency="crm", timeout_s=0.5)
async def hang_softly() -> str:
    """Wait for longer than allowed, on the loop."""
    await asyncio.sleep(60)
    return "too late"


@tool(effect="read", dependency="crm")
def say_no() -> str:
    """Fail in a way the model can act on."""
    raise ToolFailed("no")


@tool(effect="read", dependency="crm")
def trip() -> str:
    """Fail in a way that is nobody else's fault."""
    raise ValueError("oops")


@tool(effect="read", dependency="crm", optional=True, budget_s=0.5)
def embellish(value: str = "") -> str:
    """Make it prettier, if that is quick."""
    return call("embellish")


@tool(effect="read", optional=True, budget_s=0.5)
def dawdle(value: Any = None) -> str:
    """Make it prettier, which never is quick."""
    note("dawdle")
    pass_gate("dawdle")
    return "too late"


@tool(effect="read", optional=True)
def break_down(value: Any = None) -> str:
    """Make it prettier, which never works."""
    raise ValueError("it broke")


@tool(effect="read", optional=True)
def take_a_chance(value: Any = None) -> Any:
    """Make it prettier."""
    note("chance")
    return [value, "prettier"]


TOOLS = (
    look, charge, charge_patiently, hang, hang_deaf, hang_for_long, hang_softly, say_no, trip,
    embellish, dawdle, break_down, take_a_chance,
)  # fmt: skip

crm_agent = Agent(
    name="crm_agent",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
)
patient_agent = Agent(
    name="patient_agent", model="openai:test-model", instructions="", on_rate_limit="park"
)
asking = Agent(name="asking", model="openai:test-model", instructions="Answer in a word.")


def begin(value: Any) -> Any:
    return "begun"


def end(value: Any) -> Any:
    return [value, "ended"]


fetching = Pipeline(name="fetching", steps=[look], on_rate_limit="park")
softly = Pipeline(name="softly", steps=[hang_softly])
plainly = Pipeline(name="plainly", steps=[begin, end])
adorned = Pipeline(name="adorned", steps=[begin, break_down, end])
adorned_slowly = Pipeline(name="adorned_slowly", steps=[begin, dawdle, end])
adorned_last = Pipeline(name="adorned_last", steps=[begin, break_down])
adorned_first = Pipeline(name="adorned_first", steps=[break_down, end])
adorned_from_outside = Pipeline(name="adorned_from_outside", steps=[begin, embellish, end])
adorned_by_chance = Pipeline(name="adorned_by_chance", steps=[begin, take_a_chance, end])

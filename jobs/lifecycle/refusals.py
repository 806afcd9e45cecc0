"""Refusals: calls of tools that are not available to a job, because of how it came to be.

A tool names the origins it is for; a job has its own and all those above it in its line. Three
doors, each of which would do alone:

    offered   a model is not shown what is not available          (agent.tools_for)
    planned   a call of it is planned as refused, whoever made up the name     (refuse_plan)
    claimed   a step that calls it does nothing, whoever planned the step      (refuse_call)

A refused call of a model is a step like any other: it is committed as denied, the model is told
why, and the job's story has the event `call.refused`, in the same transaction. A pipeline has
nobody to tell: its job is given up as `forbidden`, or goes on without a tool that is optional.

A tool that is available may still ask, in the middle of its call, for what is not, such as a
schedule. That is told of at once, as the tool may catch whatever is raised; then it raises
`NotAvailable`, and the step comes to the same as by the third door (turn_down).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from jobs.errors import StepwellError
from jobs.lifecycle.arguments import find_tool
from jobs.lifecycle.outcomes import Acted, Broke
from jobs.lifecycle.results import tool_failed
from jobs.lifecycle.verdicts import ErrorClass, GiveUp
from jobs.lifecycle.verdicts import as_json as error_json
from store.invocation import Invocation
from store.states import StepKind, Work
from store.transitions import Claim, Plan

# What the event `call.refused` says the refusal is about.
BY_ORIGIN = "origin"


class NotAvailable(StepwellError):
    """What the call of a tool asks for is not available to its job; the message says why."""


def refuse_plan(tool: Tool, asked: dict[str, Any], invocation: Invocation) -> Plan | None:
    """The step of a call that is not available, which will do nothing; None when it is."""
    reason = tool.why_not_available_to(invocation)
    if reason is None:
        return None
    # It computes nothing either, whatever the tool would do.
    return Plan(StepKind.TOOL, f"tool.{tool.name}", Work.WAITS, asked | {"refused": reason})


def refuse_call(held: Claim, program: Program) -> Acted | Broke | None:
    """What a claimed step comes to that calls what is not available; None when it may run."""
    tool = find_tool(held, program)
    reason = None if tool is None else _why_not(held, tool)
    if reason is None:
        return None
    turned_down = turn_down(program, reason)
    if isinstance(turned_down, Acted):
        return replace(turned_down, refused=as_told(held, reason))
    return turned_down


def turn_down(program: Program, reason: str) -> Acted | Broke:
    """What a step comes to whose call is not available: a model is told, a pipeline gives up."""
    if isinstance(program, Agent):
        message = f"{reason} Do not call it again; go on without it."
        return tool_failed(program, message, outcome="denied")
    return Broke(GiveUp(error_json(ErrorClass.FORBIDDEN, reason), ErrorClass.FORBIDDEN))


def as_told(held: Claim, reason: str) -> dict[str, Any]:
    """What the event `call.refused` says."""
    tool = held.input.get("tool", held.name)
    return {"seq": held.seq, "tool": tool, "code": BY_ORIGIN, "reason": reason}


def _why_not(held: Claim, tool: Tool) -> str | None:
    # What was refused when it was planned stays refused, though the tool may be available now.
    planned: str | None = held.input.get("refused")
    reason = planned or tool.why_not_available_to(held.invocation)
    if reason is not None and held.effect_epoch is not None:
        reason += " It was begun when it still was, and nobody knows what came of that."
    return reason

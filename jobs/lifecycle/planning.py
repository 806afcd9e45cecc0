"""Planning: the calls that a model has asked for become steps, each looked at by three before.

    refused   a tool that is not for jobs that came so is planned as a call that is not made
    guarded   the guards see the arguments: what they put in their place is planned instead
    judged    the policy says who has to be asked, and they are asked in the commit that plans it

So people are asked about the call as it would be made, and about none that a guard stops anyway:
that one is a step which finds it stopped. The step looks again before it acts (approvals.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.agent.agent import Agent
from jobs.agent.turn import Call
from jobs.guards.loops import Turns
from jobs.guards.secrets import keep_out
from jobs.lifecycle.approvals import Rules, judged
from jobs.lifecycle.guarded_calls import goes_on, look_at_planned, mark_calls
from jobs.lifecycle.house import House
from jobs.lifecycle.refusals import refuse_plan
from jobs.lifecycle.taint import Read
from store.invocation import Invocation
from store.jsonb import keepable
from store.states import StepKind, Work
from store.transitions import Claim, Plan


def plan_calls(
    calls: Sequence[Call],
    held: Claim,
    agent: Agent,
    read: Read,
    rules: Rules,
    house: House,
) -> tuple[Plan, ...]:
    """The steps of these calls, in their order; `read` is what came before them."""
    asked = tuple(_plan_call(agent, call, held.invocation) for call in calls)
    marked = mark_calls(asked, read)
    turns = Turns.read(read.steps)
    return tuple(_look_at(plan, held, agent, read, turns, rules, house) for plan in marked)


def _plan_call(agent: Agent, call: Call, invocation: Invocation) -> Plan:
    tool = agent.find_tool(call.tool)
    asked = {"tool": call.tool, "call_id": call.call_id, "args": keepable(call.args)}
    if tool is None:
        # A made-up name must not become a label on anybody's dashboard.
        return Plan(StepKind.TOOL, "tool.unknown", Work.WAITS, asked)
    planned = Plan(StepKind.TOOL, f"tool.{tool.name}", tool.work, asked)
    return refuse_plan(tool, asked, invocation) or planned


def _look_at(
    plan: Plan,
    held: Claim,
    agent: Agent,
    read: Read,
    turns: Turns,
    rules: Rules,
    house: House,
) -> Plan:
    tool = agent.find_tool(plan.input["tool"])
    if tool is None or "refused" in plan.input:
        # Nothing is called, but what was asked for is kept.
        kept = keep_out(plan.input["args"], agent.all_guards)
        return replace(plan, input=plan.input | {"args": kept})
    plan, found = look_at_planned(plan, held, agent, tool, read, turns, house)
    return judged(plan, held, agent, rules, found) if goes_on(found) else plan

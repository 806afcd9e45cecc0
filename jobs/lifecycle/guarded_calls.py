"""Guarded calls: what a tool is called with and what it returns, as the agent's guards let it pass.

    a call, when it is planned                  mark_calls, look_at_planned
    its arguments, before it is made            pass_args
    what it returned, before it is kept         pass_result

A call that is blocked is a failed call, of which the model is told. A result that should halt is
kept, as its effect has happened: the model step that would read it is parked.

What a call may need to know of the turns before it is written beside its arguments when it is
planned: what its model had read by then, and how often it had asked for the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jobs.agent.agent import Agent
from jobs.agent.tool import Tool
from jobs.guards.guard import Kind, Stage, Verdict
from jobs.guards.loops import Turns
from jobs.guards.round import FOR_A_PERSON, NOTHING, Round, go_round
from jobs.lifecycle.guard_reviews import FOR_REVIEW, ask_review, is_let_go_on
from jobs.lifecycle.guard_rounds import HALTED, RETRIED, context_of, note, take_round
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Park
from jobs.lifecycle.shelf import JobShelf
from jobs.lifecycle.taint import Read, known_of, settled
from store.jsonb import keepable
from store.states import ApprovalEnding, StepKind
from store.transitions import Claim, Plan, Woken

PREVIEW_CHARS = 2_000
# How often guards may change arguments one after the other.
CHANGES_MAX = 3
CHANGED = (
    "The call was not made: its guards would change its arguments, and those are settled. "
    "Ask for it anew."
)
# What a review of a call waives.
FOR_A_REVIEW = FOR_A_PERSON - {Kind.CONFIRM}


def mark_calls(plans: tuple[Plan, ...], read: Read) -> tuple[Plan, ...]:
    """The calls, each with what its guards will want to know of what came before it."""
    return tuple(
        replace(plan, input=plan.input | read.marks() | _told_of_tool(plan.input["tool"], read))
        for plan in plans
    )


def _told_of_tool(tool: str, read: Read) -> dict[str, Any]:
    """The guards by whom the model was told that a call of this tool is wrong."""
    calls = [s for s in read.steps if s.kind is StepKind.TOOL and s.input["tool"] == tool]
    told = {name for step in calls for name in step.output.get(RETRIED, ())}
    return {RETRIED: sorted(told)} if told else {}


def with_turns(plan: Plan, turns: Turns) -> Plan:
    """The call, with in how many turns it was made, this one included; none at the first time."""
    in_a_row, in_all = turns.count(plan.input["tool"], plan.input["args"])
    counted = {"turns": [in_a_row + 1, in_all + 1]} if in_all else {}
    kept = {key: value for key, value in plan.input.items() if key != "turns"}
    return replace(plan, input=kept | counted)


def look_at_planned(
    plan: Plan, held: Claim, agent: Agent, tool: Tool, read: Read, turns: Turns, house: House
) -> tuple[Plan, Round]:
    """The call that is being planned, as its guards would have it made, and what they said.

    Of one that they stop, only what they put in the place of its arguments is noted here: the step
    hears the rest again.
    """
    records = JobShelf(house.doors, held, house.cache)
    spoken: tuple[tuple[str, Verdict], ...] = ()
    for _ in range(CHANGES_MAX):
        # They may make it the same call as one before, however else it was asked for.
        plan = with_turns(plan, turns)
        more = _of_call(tool, plan.input) | {"records": records, "steps": lambda: read.steps}
        context = context_of(held, agent, **more)
        found = go_round(Stage.TOOL_ARGS, plan.input["args"], agent.all_guards, context)
        spoken = (*spoken, *found.spoken)
        if found.value == plan.input["args"]:
            # They have nothing more to change, so they will not have before the call either.
            break
        plan = replace(plan, input=plan.input | {"args": keepable(found.value)})
    found = replace(found, spoken=spoken)
    told = {Kind.REPLACE, Kind.CONFIRM} if goes_on(found) else {Kind.REPLACE}
    note(held, house, [row for row in found.rows() if row["verdict"] in told])
    return plan, found


def goes_on(found: Round) -> bool:
    """Whether the call is made, be it after somebody has confirmed it."""
    return found.passes or found.kind is Kind.CONFIRM


def pass_args(
    held: Claim, agent: Agent, tool: Tool, args: Any, house: House, woken: Woken | None
) -> Round | Acted | Park:
    """What the guards say of a call that is about to be made, or what it comes to instead.

    `woken` is what the step had been woken by before it was reviewed.
    """
    found = take_round(
        Stage.TOOL_ARGS,
        args,
        held,
        agent,
        house,
        waived=_waived(held),
        records=JobShelf(house.doors, held, house.cache),
        steps=lambda: settled(held, house),
        **_of_call(tool, held.input),
    )
    if found.kind is Kind.HALT:
        return ask_review(held, found, house, woken=woken, tool=tool.name, args=found.value)
    if not goes_on(found):
        return _refuse_call(agent, found)
    if keepable(found.value) != args:
        return _not_made(agent, "denied", CHANGED)
    return found


def _waived(held: Claim) -> frozenset[Kind]:
    """What people have said about this call, as far as guards care.

    Whoever said yes to exactly these arguments has looked at them; the clock has not. A review is
    for anybody, so a confirmation, which is the requester's, is still asked for.
    """
    granted = held.granted
    if granted is not None and granted.ending is not ApprovalEnding.EXPIRED:
        return FOR_A_PERSON
    return FOR_A_REVIEW if is_let_go_on(held) else NOTHING


def _of_call(tool: Tool, asked: dict[str, Any]) -> dict[str, Any]:
    """What the guards may know of a call, from what was written beside it when it was planned."""
    in_a_row, in_all = asked.get("turns", (1, 1))
    return {
        "tool": tool.name,
        "effect": tool.effect,
        "under_taint": tool.under_taint,
        "in_a_row": in_a_row,
        "in_all": in_all,
        "retried": frozenset(asked.get(RETRIED, ())),
    } | known_of(asked)


def _refuse_call(agent: Agent, found: Round) -> Acted:
    """The call as one that was not made, for what its guards said of it."""
    content = f"The call was not made. {found.reason}"[:PREVIEW_CHARS]
    if found.kind is Kind.RETRY:
        told = {RETRIED: [name for name, _ in found.loud]}
        return _not_made(agent, "retried", content, told)
    return _not_made(agent, "failed", content)


def _not_made(
    agent: Agent, outcome: str, content: str, marks: dict[str, Any] | None = None
) -> Acted:
    """The step of a call that was not made, of which the model is told."""
    told = keepable({"outcome": outcome, "content": content} | (marks or {}))
    return Acted(told, outcome, plan=(agent.model_step(),), is_joining=True)


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call returned, as far as it may be kept; `marks` go beside it on the step's output."""

    value: Any
    outcome: str
    marks: dict[str, Any]


def pass_result(held: Claim, agent: Agent, returned: Any, house: House) -> Returned:
    """What may be kept of a result. The call was made, so whatever it is, the step is done."""
    tool = agent.find_tool(held.input["tool"])
    found = take_round(
        Stage.TOOL_RESULT,
        returned,
        held,
        agent,
        house,
        tool=held.input["tool"],
        effect=None if tool is None else tool.effect,
        **known_of(held.input),
    )
    if found.passes:
        return Returned(found.value, "success", {})
    if found.kind in FOR_REVIEW:
        return Returned(found.value, "success", {HALTED: found.reason})
    withheld = f"The call was made, but what it returned is withheld. {found.reason}"
    return Returned(withheld, "failed", {})

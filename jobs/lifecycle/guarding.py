"""Guarding: where values pass through a step, the agent's guards look at them first.

    the transcript, before a model is asked     pass_request
    a call, when it is planned                  mark_calls, look_at_planned
    its arguments, before it is made            pass_args
    what it returned, before it is kept         pass_result
    the answer, before it ends the job          pass_output

Each gives back what may pass, or what the step comes to instead. A call that is blocked is a failed
call, of which the model is told; an answer or a request that is blocked ends the job. A result that
should halt is kept, as its effect has happened: the model step that would read it is parked.

What a call may need to know of the turns before it is written beside its arguments when it is
planned: what its model had read by then, and how often it had asked for the same. So it holds for
the call for good, whatever its siblings bring in meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    RetryFeedbackPart,
    ToolReturnPart,
    UserPromptPart,
)

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from jobs.guards import trust
from jobs.guards.guard import Kind, Stage, Verdict, halt
from jobs.guards.loops import Turns
from jobs.guards.round import FOR_A_PERSON, NOTHING, Round, go_round
from jobs.guards.secrets import keep_out
from jobs.lifecycle.guard_reviews import (
    ask_review,
    give_up_for,
    is_let_go_on,
    keep_answer,
    usage_kept,
)
from jobs.lifecycle.guard_rounds import context_of, note, take_round
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, Park
from jobs.lifecycle.shelf import JobShelf
from store import checkpoints, guard_verdicts, jobs
from store.jsonb import keepable
from store.rows import CheckpointRow
from store.states import ApprovalEnding, JobStatus, Origin, StepKind
from store.transitions import Claim, Ending, Plan, Woken

# On a step's output: by which guards the model was told of something wrong; why it is to halt.
RETRIED, HALTED = "retried_by", "halted"
PREVIEW_CHARS = 2_000
# How often guards may change arguments one after the other.
CHANGES_MAX = 3
CHANGED = (
    "The call was not made: its guards would change its arguments, and those are settled. "
    "Ask for it anew."
)
FOR_REVIEW = frozenset({Kind.CONFIRM, Kind.HALT})
# What a review of a call waives.
FOR_A_REVIEW = FOR_A_PERSON - {Kind.CONFIRM}
READ_BY_MODEL = (UserPromptPart, ToolReturnPart, RetryFeedbackPart)


@dataclass(frozen=True, slots=True)
class Read:
    """What the model of a job has read by now, in `steps`, and where of it came from outside."""

    steps: Sequence[CheckpointRow]
    taint: tuple[str, ...]


def read_of(held: Claim, steps: Sequence[CheckpointRow], house: House) -> Read:
    """Looked up before a model is asked, whose answer costs something. Raises `Unreachable`."""
    if not held.origins_above and held.origin != Origin.SCHEDULE:
        # It cannot have inherited any.
        return Read(steps, trust.taint_of(steps))
    with house.doors.as_tenant(held.tenant_id) as tx:
        return Read(steps, trust.taint_of(steps, jobs.read(tx, held.job_id).tainted_by))


# --- a model step ---------------------------------------------------------------------------------


def pass_request(
    held: Claim,
    agent: Agent,
    read: Read,
    transcript: list[ModelMessage],
    house: House,
) -> list[ModelMessage] | Park | Broke:
    """What the model may be sent, or what the step comes to instead."""
    waived = FOR_A_PERSON if is_let_go_on(held) else NOTHING
    halted = _halted_in(read.steps)
    if halted and not waived:
        said = (("tool.result", halt(" ".join(halted))),)
        return ask_review(held, Round(Stage.MODEL_REQUEST, Kind.HALT, None, said), house)
    contents = [part.content for part in _parts_of(transcript)]
    found = take_round(
        Stage.MODEL_REQUEST,
        contents,
        held,
        agent,
        house,
        waived=waived,
        taint=read.taint,
        steps=lambda: read.steps,
    )
    if not found.passes:
        return ask_review(held, found, house) if found.kind in FOR_REVIEW else give_up_for(found)
    return _with_contents(transcript, found.value) if found.kind is Kind.REPLACE else transcript


def keep_response(agent: Agent, dumped: dict[str, Any]) -> dict[str, Any]:
    """A model's response as it may be kept: what its guards keep out of everything is not in it."""
    kept: dict[str, Any] = keepable(dumped)
    for part in kept["response"]["parts"]:
        if isinstance(part.get("args"), str):
            part["args"] = _keep_written(agent, part["args"])
    response: dict[str, Any] = keep_out(kept, agent.all_guards)
    return response


def _keep_written(agent: Agent, args: str) -> str:
    """The same of arguments that came as a text of JSON, whose fields have names as well."""
    try:
        given = json.loads(args)
    except ValueError:
        return args
    kept = keep_out(given, agent.all_guards)
    return args if kept == given else json.dumps(kept)


def mark_calls(plans: tuple[Plan, ...], read: Read) -> tuple[Plan, ...]:
    """The calls, each with what its guards will want to know of the turns before it."""
    turns = Turns.read(read.steps)
    return tuple(
        replace(plan, input=plan.input | _marks(plan, read.taint, turns, read.steps))
        for plan in plans
    )


def _marks(
    plan: Plan, taint: tuple[str, ...], turns: Turns, steps: Sequence[CheckpointRow]
) -> dict[str, Any]:
    tool = plan.input["tool"]
    in_a_row, in_all = turns.count(tool, plan.input["args"])
    before = [step for step in steps if step.kind is StepKind.TOOL and step.input["tool"] == tool]
    told = {name for step in before for name in step.output.get(RETRIED, ())}
    marks = {
        "taint": list(taint),
        "turns": [in_a_row + 1, in_all + 1] if in_all else [],
        RETRIED: sorted(told),
    }
    return {key: mark for key, mark in marks.items() if mark}


def pass_output(
    held: Claim, agent: Agent, read: Read, acted: Acted, house: House
) -> Acted | Park | Broke:
    """The step with the answer as it may leave, or with what the model is told of it."""
    assert acted.ending is not None  # noqa: S101 - only an answer is looked at
    output = acted.ending.output
    more = _of_answer(held, read, house) | {"retried": _told_of_answer(read.steps)}
    for stage in (Stage.JOB_OUTPUT, Stage.JOB_POST):
        found = take_round(stage, output, held, agent, house, **more)
        output = keepable(found.value)
        if found.kind is Kind.RETRY and stage is Stage.JOB_OUTPUT:
            return _ask_anew(acted, agent, found)
        if found.kind in FOR_REVIEW:
            kept = keep_answer(acted, output)
            return ask_review(held, found, house, kept=kept, args=output)
        if not found.passes:
            return give_up_for(found, acted.usage)
    return replace(acted, ending=replace(acted.ending, output=output))


def resume_answer(held: Claim, woken: Woken, agent: Agent, house: House) -> Acted | Broke | None:
    """The step with the answer that a person has let pass; None when there is none, so it acts."""
    kept = (woken.fallback or {}).get("kept")
    if kept is None:
        return None
    more = _of_answer(held, read_of(held, _settled(held, house), house), house)
    found = take_round(
        Stage.JOB_POST, kept["output"], held, agent, house, waived=FOR_A_PERSON, **more
    )
    usage = usage_kept(woken)
    if not found.passes:
        return give_up_for(found, usage)
    ending = Ending(JobStatus.COMPLETED, output=keepable(found.value))
    return Acted(kept["step"], usage=usage, ending=ending)


def _of_answer(held: Claim, read: Read, house: House) -> dict[str, Any]:
    """What the guards may know of an answer."""
    records = JobShelf(house.doors, held, house.cache)
    return {"taint": read.taint, "records": records, "steps": lambda: read.steps}


def _ask_anew(acted: Acted, agent: Agent, found: Round) -> Acted:
    """The step as an answer that the model is told to put right."""
    parts = acted.output["response"]["parts"]
    calls = [[p["tool_name"], p["tool_call_id"]] for p in parts if p["part_kind"] == "tool-call"]
    feedback = {
        "text": f"The answer was not taken. {found.reason}",
        "calls": calls,
        RETRIED: [name for name, _ in found.loud],
    }
    return replace(
        acted,
        output=acted.output | {"feedback": feedback},
        outcome="retried",
        plan=(agent.model_step(),),
        ending=None,
    )


def _told_of_answer(steps: Sequence[CheckpointRow]) -> frozenset[str]:
    """The guards by whom the model was told that its answer is wrong."""
    models = [step.output for step in steps if step.kind is StepKind.MODEL]
    feedback = [output["feedback"] for output in models if output.get("feedback")]
    return frozenset(name for told in feedback for name in told.get(RETRIED, ()))


def _halted_in(steps: Sequence[CheckpointRow]) -> list[str]:
    """Why results of the last turn should halt the job."""
    turn = max((step.seq for step in steps if step.kind is StepKind.MODEL), default=0)
    last = [step.output for step in steps if step.kind is StepKind.TOOL and step.parent_seq == turn]
    return [output[HALTED] for output in last if HALTED in output]


def _parts_of(transcript: Sequence[ModelMessage]) -> list[Any]:
    requests = [message for message in transcript if isinstance(message, ModelRequest)]
    return [part for each in requests for part in each.parts if isinstance(part, READ_BY_MODEL)]


def _with_contents(transcript: Sequence[ModelMessage], contents: Any) -> list[ModelMessage]:
    """The transcript with these contents in the place of those that the guards looked at."""
    left = iter(contents)
    return [
        replace(
            message,
            parts=[
                replace(part, content=next(left)) if isinstance(part, READ_BY_MODEL) else part
                for part in message.parts
            ],
        )
        if isinstance(message, ModelRequest)
        else message
        for message in transcript
    ]


# --- a tool call ----------------------------------------------------------------------------------


def look_at_planned(
    plan: Plan, held: Claim, agent: Agent, tool: Tool, read: Read, house: House
) -> Round:
    """What the guards make of a call that is being planned.

    Of one that they stop, only what they put in the place of its arguments is noted here: the step
    hears the rest again.
    """
    records = JobShelf(house.doors, held, house.cache)
    more = _of_call(tool, plan.input) | {"records": records, "steps": lambda: read.steps}
    context = context_of(held, agent, **more)
    args = plan.input["args"]
    spoken: tuple[tuple[str, Verdict], ...] = ()
    for _ in range(CHANGES_MAX):
        found = go_round(Stage.TOOL_ARGS, args, agent.all_guards, context)
        spoken = (*spoken, *found.spoken)
        if found.value == args:
            # They have nothing more to change, so they will not have before the call either.
            break
        args = found.value
    found = replace(found, spoken=spoken)
    told = {Kind.REPLACE, Kind.CONFIRM} if goes_on(found) else {Kind.REPLACE}
    note(held, house, [row for row in found.rows() if row["verdict"] in told])
    return found


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
        steps=lambda: _settled(held, house),
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
        "taint": tuple(asked.get("taint", ())),
        "in_a_row": in_a_row,
        "in_all": in_all,
        "retried": frozenset(asked.get(RETRIED, ())),
    }


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
        taint=tuple(held.input.get("taint", ())),
    )
    if found.passes:
        return Returned(found.value, "success", {})
    if found.kind in FOR_REVIEW:
        return Returned(found.value, "success", {HALTED: found.reason})
    withheld = f"The call was made, but what it returned is withheld. {found.reason}"
    return Returned(withheld, "failed", {})


def taint_of_children(held: Claim, house: House) -> tuple[str, ...]:
    """What the jobs had read from outside that this step has waited for, if it has for any."""
    if held.woken is None:
        return ()
    with house.doors.as_tenant(held.tenant_id) as tx:
        return tuple(guard_verdicts.list_taint_of_children(tx, held.job_id, held.seq))


def mark_outside(program: Program, tool: Tool | None, acted: Acted) -> Acted:
    """The step, marked when its result came from outside, whether or not the call worked.

    An agent's model is shown the mark; a pipeline has nobody to show it to.
    """
    own = () if tool is None or tool.trusted else (tool.name,)
    sources = sorted({*own, *acted.taints})
    if not sources:
        return acted
    acted = replace(acted, taints=tuple(sources))
    if not isinstance(program, Agent):
        return acted
    return replace(acted, output=acted.output | {trust.MARK: sources})


def tell_taint(acted: Acted) -> dict[str, Any]:
    """What the step taints its job with, as a part of the event that settles it."""
    return {"taint": list(acted.taints)} if acted.taints else {}


def _settled(held: Claim, house: House) -> list[CheckpointRow]:
    with house.doors.as_tenant(held.tenant_id) as tx:
        return checkpoints.list_settled(tx, held.job_id)

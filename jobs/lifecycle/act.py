"""Act: do what one step says, and read off what follows. It settles nothing.

What comes back is a value: the step's output and the plan or ending that follows from it, or the
wait that the step asks for. What goes wrong is raised, and judged by the caller.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from pydantic import ValidationError
from pydantic_ai.messages import ModelMessage

from jobs.agent.agent import Agent
from jobs.agent.model import Said, ask, patience_with
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.agent.tool import Tool, ToolContext, ToolFailed
from jobs.agent.transcript import count_failed_tools, dump_response, write_transcript
from jobs.agent.turn import Answer, Calls, Feedback, read_turn
from jobs.agent.waiting import Wait
from jobs.errors import Refused, StepwellError
from jobs.lifecycle.approvals import Rules
from jobs.lifecycle.arguments import args_of, find_tool
from jobs.lifecycle.diary import JobDiary
from jobs.lifecycle.effects import begin
from jobs.lifecycle.errand import call_in_child, step_in_child
from jobs.lifecycle.gateway import DEADLINE_SLACK_S
from jobs.lifecycle.guarded_turns import keep_response, pass_output, pass_request
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, Park
from jobs.lifecycle.parking import wait_for
from jobs.lifecycle.passage import Passage
from jobs.lifecycle.planning import plan_calls
from jobs.lifecycle.results import conclude_with, given_to, tool_failed
from jobs.lifecycle.shelf import JobShelf
from jobs.lifecycle.spending import set_aside, set_aside_for_model
from jobs.lifecycle.taint import Read, read_of, settled
from store import transitions
from store.errors import StoreError
from store.jsonb import keepable
from store.rows import CheckpointRow
from store.states import JobStatus, StepKind
from store.transitions import Claim, Ending, Plan

PROGRESS_CHARS = 300


class LimitReached(StepwellError):
    """The job used up what its agent allows it."""


def act(
    held: Claim, program: Program, house: House, passage: Passage | None = None
) -> Acted | Park | Broke:
    """Run the step. Raises whatever the model, the tool or the function raised.

    `passage` is told when its call begins and ends, where that goes through a gate.
    """
    match program:
        case Pipeline():
            return _run_function(held, program, house, passage)
        case Agent():
            if held.kind is StepKind.MODEL:
                return _ask_model(held, program, house, passage)
            return _call_tool(held, program, house, passage)
        case _:
            assert_never(program)


def timeout_of(held: Claim, program: Program, house: House) -> float:
    """Seconds after which the watch gives the step up; never far past the job's deadline."""
    usual_s = _usual_timeout_of(held, program, house)
    if held.deadline_in_s is None:
        return usual_s
    return max(0.0, min(usual_s, held.deadline_in_s + DEADLINE_SLACK_S))


def _usual_timeout_of(held: Claim, program: Program, house: House) -> float:
    if isinstance(program, Pipeline) and held.kind is StepKind.FUNCTION:
        return program.timeout_at(held.input["position"])
    if isinstance(program, Agent) and held.kind is StepKind.MODEL:
        # The call has its own limit; the watch is for a client that does not keep it.
        return (program.limits.model_timeout_s or house.settings.model_timeout_s) + 10.0
    tool = find_tool(held, program)
    return 60.0 if tool is None else tool.limit_s


def may_ride(plan: Plan, program: Program) -> bool:
    """Whether the step may run inside the Celery task that planned it, if it is quick."""
    if isinstance(program, Pipeline):
        tool = program.tool_at(plan.input["position"])
        return tool is None or tool.may_ride
    if plan.kind is StepKind.TOOL:
        tool = program.find_tool(plan.input["tool"])
        return tool is not None and tool.may_ride
    return True


# --- a model call ---------------------------------------------------------------------------------


def _ask_model(
    held: Claim, agent: Agent, house: House, passage: Passage | None
) -> Acted | Park | Broke:
    steps = _settled_before(held, house)
    _check_limits(agent, steps)
    asked = agent.input_type.model_validate(held.job_input)
    # Looked up before the call: what it costs must not be lost to a store that is away.
    read = read_of(held, agent, steps, house)
    rules = house.rules(held.tenant_id) if agent.tools else ()
    transcript = pass_request(held, agent, read, write_transcript(agent, asked, steps), house)
    if isinstance(transcript, Park | Broke):
        return transcript
    said = _ask(held, agent, transcript, house, passage)
    acted = _take_turn(held, agent, said, read, rules, house)
    return replace(acted, taints=read.late) if isinstance(acted, Acted) else acted


def _take_turn(
    held: Claim, agent: Agent, said: Said, read: Read, rules: Rules, house: House
) -> Acted | Park | Broke:
    """What follows from what the model has said."""
    turn = read_turn(agent, said.response)
    feedback = turn.as_json() if isinstance(turn, Feedback) else None
    kept = keep_response(agent, dump_response(said.response, feedback))
    acted = Acted(kept, usage=said.usage)
    match turn:
        case Calls(calls):
            return replace(acted, plan=plan_calls(calls, held, agent, read, rules, house))
        case Answer(output):
            ending = Ending(JobStatus.COMPLETED, output=keepable(output))
            return pass_output(held, agent, read, replace(acted, ending=ending), house)
        case Feedback():
            return replace(acted, outcome="retried", plan=(agent.model_step(),))
        case _:
            assert_never(turn)


def _ask(
    held: Claim,
    agent: Agent,
    transcript: list[ModelMessage],
    house: House,
    passage: Passage | None,
) -> Said:
    """The one call that is made of the model."""
    patience = patience_with(
        agent,
        house.settings,
        first_token_s=None if passage is None else passage.granted.first_token_s,
        total_s=None if passage is None else passage.granted.total_s,
        left_s=held.deadline_in_s,
    )
    tools = agent.tools_for(held.invocation)
    with house.models.borrow(agent, held.model) as model:
        set_aside_for_model(held, agent, model, transcript, house)
        if passage is not None:
            passage.begin()
        said = house.loop.run(
            ask(model, agent, transcript, house.settings, patience, tools),
            timeout_of(held, agent, house),
        )
        if passage is not None:
            passage.end(said.first_s)
    return said


def _settled_before(held: Claim, house: House) -> list[CheckpointRow]:
    """What the job remembers. Nothing is older than its first step, so nothing is asked then."""
    return [] if held.seq == 1 else settled(held, house)


def _check_limits(agent: Agent, steps: list[CheckpointRow]) -> None:
    turns = sum(1 for step in steps if step.kind is StepKind.MODEL)
    if turns >= agent.limits.model_steps_max:
        raise LimitReached(f"{turns} model steps are the limit of agent {agent.name!r}.")
    failed = count_failed_tools(steps)
    if failed > agent.limits.failed_tools_max:
        raise LimitReached(f"{failed} failed tool calls are over the limit of {agent.name!r}.")


# --- a tool call ----------------------------------------------------------------------------------


def _call_tool(held: Claim, agent: Agent, house: House, passage: Passage | None) -> Acted | Park:
    tool = agent.find_tool(held.input["tool"])
    if tool is None:
        names = ", ".join(each.name for each in agent.tools) or "none"
        return tool_failed(agent, f"There is no tool {held.input['tool']!r}. There are: {names}.")
    try:
        args = tool.validate(args_of(held))
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:10])
        return tool_failed(agent, f"The arguments do not fit: {text}", outcome="retried")
    context = _context(held, agent, house)
    call = partial(tool.call_with, context, args)
    if tool.process:
        limit_s = timeout_of(held, agent, house)
        call = partial(call_in_child, tool, context, args_of(held), timeout_s=limit_s)
    try:
        returned = _run(held, tool, agent, house, call, passage)
        return _follow(held, agent, returned, house)
    except (ToolFailed, Refused) as error:
        return tool_failed(agent, str(error))


def _run(
    held: Claim,
    tool: Tool | None,
    program: Program,
    house: House,
    call: Callable[[], Any],
    passage: Passage | None,
) -> Any:
    """Make the call, its effect begun under the fence; a coroutine is awaited on the loop."""
    set_aside(held, house)
    if tool is not None:
        begin(held, tool, house)
    if passage is not None:
        passage.begin()
    returned = call()
    if inspect.isawaitable(returned):
        returned = house.loop.run(_awaited(returned), timeout_of(held, program, house))
    if passage is not None:
        passage.end()
    return returned


def _follow(held: Claim, program: Program, returned: Any, house: House) -> Acted | Park:
    """What becomes of the step by what was returned: it is done, or it waits."""
    if isinstance(returned, Wait):
        return Park(wait_for(returned, held, program, house))
    return conclude_with(held, program, returned, house)


# --- a function of a pipeline ---------------------------------------------------------------------


def _run_function(
    held: Claim, pipeline: Pipeline, house: House, passage: Passage | None
) -> Acted | Park:
    position = held.input["position"]
    context = _context(held, pipeline, house)
    value = given_to(held, pipeline, context.input)
    tool = pipeline.tool_at(position)
    call = partial(pipeline.call, position, context, value)
    if tool is not None and tool.process:
        limit_s = timeout_of(held, pipeline, house)
        call = partial(step_in_child, tool, context, value, timeout_s=limit_s)
    return _follow(held, pipeline, _run(held, tool, pipeline, house, call, passage), house)


# --- what tools and functions are given -----------------------------------------------------------


def _context(held: Claim, program: Program, house: House) -> ToolContext:
    def tell(message: str, done: float | None) -> None:
        said = {"seq": held.seq, "message": keepable(message)[:PROGRESS_CHARS], "done": done}
        try:
            with house.doors.hot() as connection:
                transitions.tell(connection, held.tenant_id, held.job_id, "job.progress", said)
        except StoreError:
            return  # Progress is for watching; the step itself will find out.

    return ToolContext(
        tenant_id=held.tenant_id,
        job_id=held.job_id,
        seq=held.seq,
        input=program.input_type.model_validate(held.job_input),
        artifacts=JobShelf(house.doors, held, house.cache),
        tell=tell,
        effect_key=held.effect_key,
        schedules=JobDiary(house, held, program),
    )


async def _awaited(work: Any) -> Any:
    return await work

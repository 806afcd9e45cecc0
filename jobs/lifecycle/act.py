"""Act: do what one step says, and read off what follows. It writes nothing to the store.

What comes back is a value: the step's output and the plan or ending that follows from it. What goes
wrong is raised, and judged by the caller.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any, assert_never

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from jobs.agent.agent import Agent
from jobs.agent.model import ask
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.agent.tool import Tool, ToolContext, ToolFailed
from jobs.agent.transcript import count_failed_tools, dump_response, write_transcript
from jobs.agent.turn import Answer, Call, Calls, Feedback, read_turn
from jobs.errors import Misdeclared, StepwellError
from jobs.lifecycle.house import House
from jobs.lifecycle.shelf import JobShelf
from store import checkpoints, transitions
from store.errors import StoreError
from store.jsonb import keepable
from store.rows import CheckpointRow
from store.states import JobStatus, StepKind, Work
from store.transitions import Claim, Ending, Plan, Usage

# How much of a large output a model still gets to see, in characters.
PREVIEW_CHARS = 2_000
PROGRESS_CHARS = 300


class LimitReached(StepwellError):
    """The job used up what its agent allows it."""


@dataclass(frozen=True, slots=True)
class Acted:
    """What a step came to. `outcome` is for people: success, failed or retried."""

    output: Any
    outcome: str = "success"
    usage: Usage | None = None
    plan: tuple[Plan, ...] = ()
    is_joining: bool = False
    ending: Ending | None = None


def act(held: Claim, program: Program, house: House) -> Acted:
    """Run the step. Raises whatever the model, the tool or the function raised."""
    match program:
        case Pipeline():
            return _run_function(held, program, house)
        case Agent():
            if held.kind is StepKind.MODEL:
                return _ask_model(held, program, house)
            return _call_tool(held, program, house)
        case _:
            assert_never(program)


def timeout_of(held: Claim, program: Program, house: House) -> float:
    """Seconds after which the watch gives the step up."""
    if isinstance(program, Pipeline):
        return program.timeout_s
    if held.kind is StepKind.MODEL:
        # The call has its own limit; the watch is for a client that does not keep it.
        return (program.limits.model_timeout_s or house.settings.model_timeout_s) + 10.0
    tool = program.find_tool(held.input["tool"])
    return 60.0 if tool is None else tool.timeout_s


def find_tool(held: Claim, program: Program) -> Tool | None:
    """The tool this step calls, if it calls one that exists."""
    if held.kind is StepKind.TOOL and isinstance(program, Agent):
        return program.find_tool(held.input["tool"])
    return None


def may_ride(plan: Plan, program: Program) -> bool:
    """Whether the step may run inside the Celery task that planned it, if it is quick."""
    if plan.kind is StepKind.TOOL and isinstance(program, Agent):
        tool = program.find_tool(plan.input["tool"])
        return tool is not None and tool.may_ride
    return True


# --- a model call ---------------------------------------------------------------------------------


def _ask_model(held: Claim, agent: Agent, house: House) -> Acted:
    steps = _settled_before(held, house)
    _check_limits(agent, steps)
    asked = agent.input_type.model_validate(held.job_input)
    transcript = write_transcript(agent, asked, steps)
    with house.models.borrow(agent, held.model) as model:
        said = house.loop.run(
            ask(model, agent, transcript, house.settings), timeout_of(held, agent, house)
        )
    turn = read_turn(agent, said.response)
    match turn:
        case Calls(calls):
            return Acted(
                keepable(dump_response(said.response)),
                usage=said.usage,
                plan=tuple(_plan_call(agent, call) for call in calls),
            )
        case Answer(output):
            return Acted(
                keepable(dump_response(said.response)),
                usage=said.usage,
                ending=Ending(JobStatus.COMPLETED, output=keepable(output)),
            )
        case Feedback():
            return Acted(
                keepable(dump_response(said.response, turn.as_json())),
                outcome="retried",
                usage=said.usage,
                plan=(agent.model_step(),),
            )
        case _:
            assert_never(turn)


def _settled_before(held: Claim, house: House) -> list[CheckpointRow]:
    """What the job remembers. Nothing is older than its first step, so nothing is asked then."""
    if held.seq == 1:
        return []
    with house.doors.as_tenant(held.tenant_id) as tx:
        return checkpoints.list_settled(tx, held.job_id)


def _check_limits(agent: Agent, steps: list[CheckpointRow]) -> None:
    turns = sum(1 for step in steps if step.kind is StepKind.MODEL)
    if turns >= agent.limits.model_steps_max:
        raise LimitReached(f"{turns} model steps are the limit of agent {agent.name!r}.")
    failed = count_failed_tools(steps)
    if failed > agent.limits.failed_tools_max:
        raise LimitReached(f"{failed} failed tool calls are over the limit of {agent.name!r}.")


def _plan_call(agent: Agent, call: Call) -> Plan:
    tool = agent.find_tool(call.tool)
    asked = {"tool": call.tool, "call_id": call.call_id, "args": keepable(call.args)}
    if tool is None:
        # A made-up name must not become a label on anybody's dashboard.
        return Plan(StepKind.TOOL, "tool.unknown", Work.WAITS, asked)
    return Plan(StepKind.TOOL, f"tool.{tool.name}", tool.work, asked)


# --- a tool call ----------------------------------------------------------------------------------


def _call_tool(held: Claim, agent: Agent, house: House) -> Acted:
    tool = agent.find_tool(held.input["tool"])
    if tool is None:
        names = ", ".join(each.name for each in agent.tools) or "none"
        return tool_failed(agent, f"There is no tool {held.input['tool']!r}. There are: {names}.")
    try:
        args = tool.validate(held.input["args"])
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:10])
        return tool_failed(agent, f"The arguments do not fit: {text}", outcome="retried")
    context = _context(held, agent, house)
    try:
        returned = tool.function(*[context][: tool.takes_context], **args)
        if inspect.isawaitable(returned):
            returned = house.loop.run(_awaited(returned), tool.timeout_s)
        content = fit(returned, context, house.settings.output_bytes_max)
    except ToolFailed as error:
        return tool_failed(agent, str(error))
    output = {"outcome": "success", "content": content}
    return Acted(output, plan=(agent.model_step(),), is_joining=True)


def tool_failed(agent: Agent, message: str, outcome: str = "failed") -> Acted:
    """A call that did not work, as the model is told."""
    output = {"outcome": outcome, "content": message[:PREVIEW_CHARS]}
    return Acted(keepable(output), outcome=outcome, plan=(agent.model_step(),), is_joining=True)


# --- a function of a pipeline ---------------------------------------------------------------------


def _run_function(held: Claim, pipeline: Pipeline, house: House) -> Acted:
    position = held.input["position"]
    context = _context(held, pipeline, house)
    value = context.input.model_dump(mode="json") if position == 0 else held.parent_output
    returned = pipeline.call(position, context, value)
    if inspect.isawaitable(returned):
        returned = house.loop.run(_awaited(returned), pipeline.timeout_s)
    output = _as_json(returned)
    following = pipeline.step_after(position)
    if following is None:
        return Acted(output, ending=Ending(JobStatus.COMPLETED, output=output))
    return Acted(output, plan=(following,))


# --- what tools and functions are given, and what becomes of what they return ---------------------


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
    )


async def _awaited(work: Any) -> Any:
    return await work


def fit(returned: Any, context: ToolContext, bytes_max: int) -> Any:
    """What a tool returned as JSON; a large one is kept as an artifact, with a preview here."""
    content = _as_json(returned)
    text = json.dumps(content)
    if len(text) <= bytes_max:
        return content
    kept = context.artifacts.save(f"output-{context.seq}.json", "application/json", text.encode())
    return {
        "artifact": str(kept.id),
        "bytes": kept.size_bytes,
        "preview": text[:PREVIEW_CHARS],
        "note": "The output was too large to show whole; it is kept as this artifact.",
    }


def _as_json(returned: Any) -> Any:
    try:
        return keepable(to_jsonable_python(returned, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Misdeclared(f"It returned something that cannot be kept as JSON: {error}") from None

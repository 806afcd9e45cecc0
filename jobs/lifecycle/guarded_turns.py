"""Guarded turns: what a model is sent and what it answers, as its agent's guards let it pass.

    the transcript, before a model is asked     pass_request
    its response, before it is kept             keep_response
    the answer, before it ends the job          pass_output

Each gives back what may pass, or what the step comes to instead. A request or an answer that is
blocked ends the job. An answer that a person has let pass is taken up as they saw it
(`resume_answer`), and goes through what looks at it as it leaves. Where the result of a call should
halt, the model step that would read it is parked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    RetryFeedbackPart,
    ToolReturnPart,
    UserPromptPart,
)

from jobs.agent.agent import Agent
from jobs.guards.guard import Kind, Stage, halt
from jobs.guards.round import FOR_A_PERSON, NOTHING, Round
from jobs.guards.secrets import keep_out
from jobs.lifecycle.guard_reviews import (
    FOR_REVIEW,
    ask_review,
    give_up_for,
    is_let_go_on,
    keep_answer,
    usage_kept,
)
from jobs.lifecycle.guard_rounds import HALTED, RETRIED, take_round
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, Park
from jobs.lifecycle.shelf import JobShelf
from jobs.lifecycle.taint import Read, known_of, read_of, settled
from store.jsonb import keepable
from store.rows import CheckpointRow
from store.states import JobStatus, StepKind
from store.transitions import Claim, Ending, Woken

READ_BY_MODEL = (UserPromptPart, ToolReturnPart, RetryFeedbackPart)


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
        steps=lambda: read.steps,
        **known_of(read.marks()),
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
        kept = keep_out(given, agent.all_guards)
        return args if kept == given else json.dumps(kept)
    except (ValueError, RecursionError):
        return args  # No call is made with such; as a text it is searched like any other.


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
            kept = keep_answer(acted, output, stage)
            return ask_review(held, found, house, kept=kept, args=output)
        if not found.passes:
            return give_up_for(found, acted.usage)
    return replace(acted, ending=replace(acted.ending, output=output))


def resume_answer(
    held: Claim, woken: Woken, agent: Agent, house: House
) -> Acted | Broke | Park | None:
    """The step with the answer that a person has let pass; None when there is none, so it acts.

    What they were shown has been waived, and nothing that is said of it as it leaves.
    """
    kept = (woken.fallback or {}).get("kept")
    if kept is None:
        return None
    read = read_of(held, agent, settled(held, house), house)
    more = _of_answer(held, read, house)
    waived = FOR_A_PERSON if kept.get("stage") != Stage.JOB_OUTPUT else NOTHING
    found = take_round(Stage.JOB_POST, kept["output"], held, agent, house, waived=waived, **more)
    if found.kind in FOR_REVIEW:
        shown = keepable(found.value)
        kept = kept | {"output": shown, "stage": Stage.JOB_POST}
        return ask_review(held, found, house, kept=kept, args=shown)
    usage = usage_kept(woken)
    if not found.passes:
        return give_up_for(found, usage)
    ending = Ending(JobStatus.COMPLETED, output=keepable(found.value))
    return Acted(kept["step"], usage=usage, ending=ending, taints=read.late)


def _of_answer(held: Claim, read: Read, house: House) -> dict[str, Any]:
    """What the guards may know of an answer."""
    records = JobShelf(house.doors, held, house.cache)
    return {"records": records, "steps": lambda: read.steps} | known_of(read.marks())


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

"""Rehearsal: ask the model of a job again what it was asked, and say where it decides otherwise.

Each committed model step is asked anew with the transcript of the steps before it as they were
recorded. So every answer is compared on the same ground, and one that differs does not make all
that follow differ. Nothing is written and no tool is called; only the model is asked.

What is compared is the decision: which tools are called, in which order, with which arguments, or
what the final answer is. Words beside a call, and the ids of calls, decide nothing.

A pipeline decides nothing, so there is nothing to ask: its recorded steps are laid beside those it
declares now.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import ndiff
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_ai.messages import ModelResponse, ToolCallPart

from jobs.agent.agent import ANSWER_TOOL, Agent
from jobs.agent.model import Models, Said, ask
from jobs.agent.pipeline import Pipeline
from jobs.agent.tool import Tool
from jobs.agent.transcript import load_response, write_transcript
from jobs.errors import InvalidInput, UnknownModel
from jobs.settings import Settings
from store.invocation import Invocation
from store.rows import CheckpointRow
from store.states import StepKind, StepState
from store.transitions import Usage

# A client may not keep the limit of its call; this is how much longer it is waited for.
GRACE_S = 10.0
ERROR_CHARS_MAX = 500
# Before the arguments of a call, which stand below its name.
INDENT = "  "


class Verdict(StrEnum):
    """What came of comparing one step."""

    SAME = "same"
    DIFFERS = "differs"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Decision:
    """What an answer decides: these calls in this order, or this text when it calls nothing."""

    calls: tuple[tuple[str, Any], ...]
    text: str | None

    def lines(self) -> list[str]:
        """The decision as lines of text, for people and for a diff."""
        if not self.calls:
            return (self.text or "").splitlines() or ["(nothing)"]
        return [line for name, args in self.calls for line in _lines_of_call(name, args)]


@dataclass(frozen=True, slots=True)
class Compared:
    """One step beside what it would be now; `note` is a sentence about what cannot be compared."""

    seq: int
    name: str
    verdict: Verdict
    recorded: list[str]
    now: list[str]
    note: str = ""
    usage: Usage | None = None

    @property
    def diff(self) -> list[str]:
        """Only what differs: recorded lines with `- `, those of now with `+ `.

        Where arguments differ, the name of their call stands above them with two blanks.
        """
        if self.verdict is not Verdict.DIFFERS:
            return []
        return list(_differing(self.recorded, self.now))


async def rehearse(
    agent: Agent,
    job_input: Mapping[str, Any],
    steps: Sequence[CheckpointRow],
    models: Models,
    settings: Settings,
    *,
    model_name: str | None,
    invocation: Invocation | None = None,
) -> AsyncIterator[Compared]:
    """Ask again and compare, step by step; it ends early when the model gives no answer.

    `steps` are those of the job in order, `model_name` as a job would name it. The model is offered
    the tools of such an invocation; all of them without one.

    Raises:
        InvalidInput: the job's input does not fit the agent as it is now.
        UnknownModel: no model can be made of that name.
    """
    asked = _read_input(agent, job_input)
    tools = agent.tools if invocation is None else agent.tools_for(invocation)
    committed = [step for step in steps if step.state is StepState.COMMITTED]
    for step in committed:
        if step.kind is not StepKind.MODEL:
            continue
        before = [each for each in committed if each.seq < step.seq]
        recorded = read_decision(load_response(step.output))
        try:
            said = await _ask(agent, asked, before, models, settings, model_name, tools)
        except UnknownModel:
            raise
        except Exception as error:  # noqa: BLE001 - providers raise what they like
            told = f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
            yield Compared(step.seq, step.name, Verdict.UNANSWERED, recorded.lines(), [], told)
            return
        yield compare(agent, step, recorded, said)


def compare(agent: Agent, step: CheckpointRow, recorded: Decision, said: Said) -> Compared:
    """The recorded decision of a step beside the one that was made now."""
    now = read_decision(said.response)
    verdict = Verdict.SAME if now == recorded else Verdict.DIFFERS
    gone = _tools_gone(agent, recorded)
    note = f"not a tool of {agent.name!r} here: {', '.join(gone)}" if gone else ""
    return Compared(step.seq, step.name, verdict, recorded.lines(), now.lines(), note, said.usage)


def read_decision(response: ModelResponse) -> Decision:
    """What the answer decides."""
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    if calls:
        return Decision(tuple((call.tool_name, _args_of(call)) for call in calls), None)
    return Decision((), response.text)


def compare_pipeline(
    pipeline: Pipeline, steps: Sequence[CheckpointRow], *, is_over: bool
) -> list[Compared]:
    """The recorded steps beside the declared ones, in order; `is_over` when the job completed.

    The steps that a job which is not over has yet to do are not missed.
    """
    recorded = [step.name for step in steps]
    declared = _declared_names(pipeline)
    if not is_over:
        declared = declared[: len(recorded)]
    pairs = zip_longest(recorded, declared, fillvalue="(no such step)")
    return [
        Compared(seq, then, Verdict.SAME if then == now else Verdict.DIFFERS, [then], [now])
        for seq, (then, now) in enumerate(pairs, start=1)
    ]


def _differing(recorded: list[str], now: list[str]) -> Iterator[str]:
    call: str | None = None
    for line in ndiff(recorded, now):
        sign, is_argument = line[:2], line[2:].startswith(INDENT)
        if sign == "  " and not is_argument:
            call = line
        elif sign in ("- ", "+ "):
            if call is not None and is_argument:
                yield call
            call = None
            yield line


def _declared_names(pipeline: Pipeline) -> list[str]:
    (first,) = pipeline.first_steps()
    names = [first.name]
    while (following := pipeline.step_after(len(names) - 1)) is not None:
        names.append(following.name)
    return names


async def _ask(
    agent: Agent,
    asked: BaseModel,
    before: Sequence[CheckpointRow],
    models: Models,
    settings: Settings,
    model_name: str | None,
    tools: Sequence[Tool],
) -> Said:
    limit_s = (agent.limits.model_timeout_s or settings.model_timeout_s) + GRACE_S
    transcript = write_transcript(agent, asked, before)
    with models.borrow(agent, model_name) as model:
        return await asyncio.wait_for(ask(model, agent, transcript, settings, tools=tools), limit_s)


def _read_input(agent: Agent, job_input: Mapping[str, Any]) -> BaseModel:
    try:
        return agent.input_type.model_validate(job_input)
    except ValidationError as error:
        named = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'input'}: {each['msg']}"
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise InvalidInput(
            f"The job's input does not fit {agent.name!r} as it is here: {named}."
        ) from None


def _args_of(call: ToolCallPart) -> Any:
    try:
        return call.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return call.args


def _lines_of_call(name: str, args: Any) -> list[str]:
    if not isinstance(args, dict):
        return [f"{name} {_written(args)}"]
    return [name, *(f"{INDENT}{key}: {_written(args[key])}" for key in sorted(args))]


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _tools_gone(agent: Agent, decision: Decision) -> list[str]:
    names = dict.fromkeys(name for name, _ in decision.calls if name != ANSWER_TOOL)
    return [name for name in names if agent.find_tool(name) is None]

"""A turn: what a model's answer means. Calls to make, the final answer, or a thing to put right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_ai.messages import ModelResponse, ToolCallPart

from jobs.agent.agent import ANSWER_TOOL, Agent


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call as the model asked for it; the arguments are checked when it is made."""

    tool: str
    call_id: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Calls:
    """The model wants these made, all of them at once."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The model is done; `output` is JSON that fits the agent's output type."""

    output: Any


@dataclass(frozen=True, slots=True)
class Feedback:
    """The answer cannot be used. Every call in it, as (tool, call id), is told so."""

    text: str
    calls: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "calls": [list(call) for call in self.calls]}


Turn = Calls | Answer | Feedback


def read_turn(agent: Agent, response: ModelResponse) -> Turn:
    """What follows from this answer. A final answer ends the turn, whatever else was called."""
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    for call in calls:
        if call.tool_name == ANSWER_TOOL and agent.answer_tool is not None:
            return _read_answer(agent, call, calls)
    if calls:
        return _read_calls(agent, calls)
    text = response.text
    if agent.answer_tool is not None:
        return Feedback(f"Give the final answer by calling {ANSWER_TOOL}, not as text.")
    if not text or not text.strip():
        return Feedback("The answer was empty. Answer in text, or call a tool.")
    return Answer(text)


def _read_answer(agent: Agent, answer: ToolCallPart, calls: list[ToolCallPart]) -> Turn:
    try:
        value = agent.answer.validate_python(answer.args_as_dict(raise_if_invalid=True))
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:10])
        return _feedback(text, calls)
    except (ValueError, AssertionError):
        return _feedback("The arguments are not a JSON object.", calls)
    return Answer(agent.answer.dump_python(value, mode="json"))


def _read_calls(agent: Agent, calls: list[ToolCallPart]) -> Turn:
    most = agent.limits.tool_calls_per_turn_max
    if len(calls) > most:
        return _feedback(f"{len(calls)} calls at once are too many; make at most {most}.", calls)
    return Calls(tuple(_read_call(call) for call in calls))


def _feedback(text: str, calls: list[ToolCallPart]) -> Feedback:
    return Feedback(text, tuple((call.tool_name, call.tool_call_id) for call in calls))


def _read_call(call: ToolCallPart) -> Call:
    try:
        args = call.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        # Kept as it is; the check of the arguments will refuse it and tell the model.
        args = {"not valid JSON": str(call.args)[:2000]}
    return Call(call.tool_name, call.tool_call_id, args)

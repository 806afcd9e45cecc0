"""The transcript: what a model is shown, written anew from the committed steps of the job.

It is a pure function of rows, so it reads the same after a crash, on another machine, or under a
later version of this code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    RetryFeedbackPart,
    RetryInfo,
    ToolReturnPart,
    UserPromptPart,
)

from jobs.agent.agent import Agent
from jobs.guards import trust
from store.rows import CheckpointRow
from store.states import StepKind


def write_transcript(
    agent: Agent, asked: BaseModel, steps: Sequence[CheckpointRow]
) -> list[ModelMessage]:
    """What to send: the request, then every answer of the model with what its tools returned.

    `steps` are the committed steps of the job in order.
    """
    messages: list[ModelMessage] = [
        ModelRequest(
            parts=[UserPromptPart(agent.write_prompt(asked))], instructions=agent.instructions
        )
    ]
    returns: dict[int, list[ModelRequestPart]] = {}
    for step in steps:
        if step.kind is StepKind.TOOL and step.parent_seq is not None:
            returns.setdefault(step.parent_seq, []).append(_return_of(step, agent))
    for step in steps:
        if step.kind is not StepKind.MODEL:
            continue
        messages.append(load_response(step.output))
        parts = [*_feedback_of(step.output), *returns.get(step.seq, [])]
        if parts:
            messages.append(ModelRequest(parts=parts, instructions=agent.instructions))
    return messages


def dump_response(
    response: ModelResponse, feedback: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A model's answer as the JSON a checkpoint keeps."""
    (message,) = ModelMessagesTypeAdapter.dump_python([response], mode="json")
    return {"response": message, "feedback": feedback}


def load_response(output: Any) -> ModelResponse:
    """The answer a checkpoint keeps."""
    (message,) = ModelMessagesTypeAdapter.validate_python([output["response"]])
    assert isinstance(message, ModelResponse)  # noqa: S101 - only answers are ever dumped
    return message


def count_failed_tools(steps: Sequence[CheckpointRow]) -> int:
    """How many tool calls of this job have failed so far."""
    return sum(
        1
        for step in steps
        if step.kind is StepKind.TOOL and step.output and step.output["outcome"] != "success"
    )


def _return_of(step: CheckpointRow, agent: Agent) -> ToolReturnPart:
    # What came from outside is marked as such.
    told, sources = _told_of(step.output), trust.sources_of(step, agent.outside)
    return ToolReturnPart(
        tool_name=step.input["tool"],
        content=trust.mark(told, sources) if sources else told,
        tool_call_id=step.input["call_id"],
        outcome=step.output["outcome"],
    )


def _told_of(output: dict[str, Any]) -> Any:
    """What a model is told that its call came to; also with which arguments, if with others."""
    if "edited_args" not in output:
        return output["content"]
    return {
        "result": output["content"],
        "note": "A person has changed the arguments of this call; it was made with these.",
        "args": output["edited_args"],
    }


def _feedback_of(output: Any) -> list[ModelRequestPart]:
    feedback = output.get("feedback")
    if feedback is None:
        return []
    if not feedback["calls"]:
        return [RetryFeedbackPart(content=feedback["text"], retry=RetryInfo("model_retry"))]
    return [
        ToolReturnPart(
            tool_name=name, content=feedback["text"], tool_call_id=call_id, outcome="retried"
        )
        for name, call_id in feedback["calls"]
    ]

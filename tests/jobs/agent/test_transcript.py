"""The transcript: the same rows always read the same, and every call has its return."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic_ai.messages import (
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from jobs import Agent
from jobs.agent.agent import Ask
from jobs.agent.transcript import (
    count_failed_tools,
    dump_response,
    load_response,
    write_transcript,
)
from store.rows import CheckpointRow
from store.states import JobClass, StepKind, StepState, Work

AGENT = Agent("a", "openai:x", "Be brief.")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NIL = UUID(int=0)


def step(seq: int, kind: StepKind, parent: int | None, asked: Any, output: Any) -> CheckpointRow:
    return CheckpointRow(
        NIL, NIL, seq, parent, kind, "n", JobClass.DEFAULT, Work.WAITS, StepState.COMMITTED,
        1, 0, 0, None, NOW, None, NOW, NOW, asked, output, None,
        0, None, None, None,
    )  # fmt: skip


def model(seq: int, parent: int | None, *parts: Any, feedback: Any = None) -> CheckpointRow:
    return step(
        seq, StepKind.MODEL, parent, None, dump_response(ModelResponse(list(parts)), feedback)
    )


def tool(seq: int, parent: int, call_id: str, content: Any, outcome: str = "success") -> Any:
    asked = {"tool": "t", "call_id": call_id, "args": {}}
    return step(seq, StepKind.TOOL, parent, asked, {"outcome": outcome, "content": content})


def call(call_id: str) -> ToolCallPart:
    return ToolCallPart("t", {"n": 1}, tool_call_id=call_id)


STEPS = [
    model(1, None, TextPart("let me see"), call("c1"), call("c2")),
    tool(2, 1, "c1", {"rows": [1, 2]}),
    tool(3, 1, "c2", "no such column", "failed"),
    model(4, 3, call("c3")),
    tool(5, 4, "c3", 7),
    model(6, 5, TextPart("seven")),
]


def test_a_new_job_is_shown_its_request_and_instructions() -> None:
    (request,) = write_transcript(AGENT, Ask(ask="why?"), [])
    assert isinstance(request, ModelRequest)
    assert request.instructions == "Be brief."
    (part,) = request.parts
    assert isinstance(part, UserPromptPart)
    assert part.content == "why?"


def test_every_answer_is_followed_by_what_its_own_calls_returned() -> None:
    messages = write_transcript(AGENT, Ask(ask="why?"), STEPS)
    assert [type(m).__name__ for m in messages] == [
        "ModelRequest", "ModelResponse", "ModelRequest", "ModelResponse", "ModelRequest",
        "ModelResponse",
    ]  # fmt: skip
    returns = [
        [(p.tool_call_id, p.content, p.outcome) for p in m.parts if isinstance(p, ToolReturnPart)]
        for m in messages[2::2]
    ]
    assert returns == [
        [("c1", {"rows": [1, 2]}, "success"), ("c2", "no such column", "failed")],
        [("c3", 7, "success")],
    ]


def test_every_call_has_one_return_whatever_order_siblings_came_in() -> None:
    shuffled = [STEPS[0], STEPS[2], STEPS[1], *STEPS[3:]]
    messages = write_transcript(AGENT, Ask(ask="why?"), shuffled)
    called = [p.tool_call_id for m in messages for p in m.parts if isinstance(p, ToolCallPart)]
    told = [p.tool_call_id for m in messages for p in m.parts if isinstance(p, ToolReturnPart)]
    assert sorted(called) == sorted(told)


def test_the_same_rows_read_the_same_after_a_trip_through_json() -> None:
    import json

    first = write_transcript(AGENT, Ask(ask="why?"), STEPS)
    again = [
        step(s.seq, s.kind, s.parent_seq, s.input, json.loads(json.dumps(s.output))) for s in STEPS
    ]
    second = write_transcript(AGENT, Ask(ask="why?"), again)

    def without_clock(messages: list[Any]) -> Any:
        return [(m.kind, [p.part_kind for p in m.parts]) for m in messages]

    assert without_clock(first) == without_clock(second)
    assert [m for m in first if isinstance(m, ModelResponse)] == [
        m for m in second if isinstance(m, ModelResponse)
    ]


def test_an_answer_survives_being_kept() -> None:
    response = ModelResponse([TextPart("é"), call("c1")], model_name="m")
    response.usage.input_tokens = 5
    kept = load_response(dump_response(response))
    assert kept == response
    assert ModelMessagesTypeAdapter.dump_json([kept]) == ModelMessagesTypeAdapter.dump_json(
        [response]
    )


def test_feedback_on_calls_answers_each_of_them() -> None:
    feedback = {"text": "score: Field required", "calls": [["final_answer", "c1"], ["t", "c2"]]}
    messages = write_transcript(
        AGENT, Ask(ask="?"), [model(1, None, call("c1"), call("c2"), feedback=feedback)]
    )
    told = [p for p in messages[-1].parts if isinstance(p, ToolReturnPart)]
    assert [(p.tool_call_id, p.content, p.outcome) for p in told] == [
        ("c1", "score: Field required", "retried"),
        ("c2", "score: Field required", "retried"),
    ]


def test_feedback_on_text_is_said_as_such() -> None:
    feedback = {"text": "Give the final answer", "calls": []}
    messages = write_transcript(
        AGENT, Ask(ask="?"), [model(1, None, TextPart("7"), feedback=feedback)]
    )
    (part,) = messages[-1].parts
    assert isinstance(part, RetryFeedbackPart)


def test_failed_calls_are_counted_and_others_are_not() -> None:
    assert count_failed_tools(STEPS) == 1
    assert count_failed_tools([*STEPS, tool(7, 6, "c9", "x", "retried")]) == 2

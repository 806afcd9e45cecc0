"""Rehearsal: each decision is asked for again on recorded ground, and differences are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from jobs.agent.agent import Agent
from jobs.agent.model import Models
from jobs.agent.pipeline import Pipeline
from jobs.agent.rehearsal import (
    Compared,
    Decision,
    Verdict,
    compare_pipeline,
    read_decision,
    rehearse,
)
from jobs.agent.tool import tool
from jobs.agent.transcript import dump_response, load_response, write_transcript
from jobs.agent.turn import Answer, Calls, Feedback, read_turn
from jobs.errors import InvalidInput, UnknownModel
from jobs.settings import Settings
from store.invocation import Invocation
from store.rows import CheckpointRow
from store.states import JobClass, Origin, StepKind, StepState, Work
from tests.programs import as_input, echo, scripted, typed, walk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = as_input(
    [("post", {"what": "a"}), ("add", {"a": 1})], [("echo", {"text": "b"})], answer="fine"
)


def row(seq: int, kind: StepKind, name: str, *, parent: int | None, **more: Any) -> CheckpointRow:
    return CheckpointRow(
        tenant_id=UUID(int=1),
        job_id=UUID(int=2),
        seq=seq,
        parent_seq=parent,
        kind=kind,
        name=name,
        job_class=JobClass.DEFAULT,
        work=Work.WAITS,
        state=more.pop("state", StepState.COMMITTED),
        epoch=1,
        attempts=0,
        losses=0,
        worker_id=None,
        ready_at=NOW,
        rung_at=None,
        claimed_at=NOW,
        committed_at=NOW,
        input=more.get("input"),
        output=more.get("output"),
        error=None,
        waits=0,
        effect_key=None,
        effect_epoch=None,
        effect_started_at=None,
    )


def play(agent: Agent, asked: dict[str, Any], steps_max: int = 20) -> list[CheckpointRow]:
    """The committed steps of a job of this agent; tools return their own name, and do nothing."""
    model = agent.model
    assert isinstance(model, FunctionModel)
    steps: list[CheckpointRow] = []
    while len(steps) < steps_max:
        transcript = write_transcript(agent, agent.input_type.model_validate(asked), steps)
        response = asyncio.run(ask(model, agent, transcript))
        turn = read_turn(agent, response)
        feedback = turn.as_json() if isinstance(turn, Feedback) else None
        seq = len(steps) + 1
        parent = seq - 1 or None
        output = dump_response(response, feedback)
        steps.append(row(seq, StepKind.MODEL, agent.step_name, parent=parent, output=output))
        if isinstance(turn, Answer):
            return steps
        if isinstance(turn, Calls):
            for n, call in enumerate(turn.calls, start=1):
                given = {"tool": call.tool, "call_id": call.call_id, "args": call.args}
                made = {"outcome": "success", "content": call.tool}
                name = f"tool.{call.tool}"
                steps.append(
                    row(seq + n, StepKind.TOOL, name, parent=seq, input=given, output=made)
                )
    raise AssertionError("it never ended")


async def ask(model: FunctionModel, agent: Agent, transcript: list[ModelMessage]) -> ModelResponse:
    from jobs.agent.model import ask as ask_model

    return (await ask_model(model, agent, transcript, Settings())).response


def compared(
    agent: Agent,
    asked: dict[str, Any],
    steps: Sequence[CheckpointRow],
    *,
    model_name: str | None = None,
    invocation: Invocation | None = None,
) -> list[Compared]:
    settings, how = Settings(), {"model_name": model_name, "invocation": invocation}

    async def collect() -> list[Compared]:
        told = rehearse(agent, asked, steps, Models(settings), settings, **how)  # type: ignore[arg-type]
        return [each async for each in told]

    return asyncio.run(collect())


def test_a_model_is_offered_again_what_its_job_was_offered() -> None:
    @tool(effect="read", origins=("api",))
    def shut() -> str:
        """Only over the API."""
        return ""

    def tell_offer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart(", ".join(each.name for each in info.function_tools))])

    agent = Agent("offering", FunctionModel(tell_offer), "", tools=[echo, shut])
    asked = {"ask": "what have you got?"}
    steps = play(agent, asked)
    by_schedule = Invocation(Origin.AGENT, UUID(int=2), origins_above=(Origin.SCHEDULE,))
    for invocation, offered in ((None, "echo, shut"), (by_schedule, "echo")):
        (found,) = compared(agent, asked, steps, invocation=invocation)
        assert found.now == [offered]


def said(step: CheckpointRow, *parts: Any) -> CheckpointRow:
    """The same model step, with another answer recorded."""
    return replace(step, output=dump_response(ModelResponse(parts=list(parts))))


def verdicts(found: Sequence[Compared]) -> list[tuple[int, str]]:
    return [(each.seq, each.verdict.value) for each in found]


def test_the_same_agent_decides_the_same_and_no_tool_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_LEDGER", str(tmp_path / "ledger"))
    steps = play(scripted, JOB)
    found = compared(scripted, JOB, steps)
    assert verdicts(found) == [(1, "same"), (4, "same"), (6, "same")]
    assert found[0].recorded == found[0].now
    assert found[0].recorded == ["post", '  what: "a"', "add", "  a: 1"]
    assert found[2].recorded == ["fine: echo"]
    assert all(each.diff == [] and each.usage is not None for each in found)
    assert not (tmp_path / "ledger").exists()


def test_other_arguments_are_a_difference_and_are_shown(tmp_path: Path) -> None:
    steps = play(scripted, JOB)
    steps[3] = said(steps[3], ToolCallPart("echo", {"text": "c"}, tool_call_id="1-0"))
    found = compared(scripted, JOB, steps)
    assert verdicts(found) == [(1, "same"), (4, "differs"), (6, "same")]
    assert found[1].diff == ["  echo", '-   text: "c"', '+   text: "b"']


def test_each_step_is_asked_on_recorded_ground(tmp_path: Path) -> None:
    steps = play(scripted, JOB)
    steps[0] = said(steps[0], ToolCallPart("echo", {"text": "x"}, tool_call_id="0-0"))
    assert verdicts(compared(scripted, JOB, steps)) == [(1, "differs"), (4, "same"), (6, "same")]


def test_what_a_tool_had_returned_is_what_the_model_is_shown() -> None:
    steps = play(scripted, JOB)
    steps[4] = replace(steps[4], output={"outcome": "success", "content": "changed"})
    found = compared(scripted, JOB, steps)
    assert found[-1].diff == ["- fine: echo", "+ fine: changed"]


def test_calls_in_another_order_are_a_difference() -> None:
    steps = play(scripted, JOB)
    calls = [p for p in load_response(steps[0].output).parts if isinstance(p, ToolCallPart)]
    steps[0] = said(steps[0], *calls[::-1])
    assert compared(scripted, JOB, steps)[0].verdict is Verdict.DIFFERS


def test_ids_and_words_beside_a_call_decide_nothing() -> None:
    steps = play(scripted, JOB)
    calls = [p for p in load_response(steps[0].output).parts if isinstance(p, ToolCallPart)]
    renamed = [
        ToolCallPart(c.tool_name, c.args, tool_call_id=f"other-{c.tool_call_id}") for c in calls
    ]
    steps[0] = said(steps[0], ThinkingPart("hmm"), TextPart("Let me see."), *renamed)
    assert compared(scripted, JOB, steps)[0].verdict is Verdict.SAME


def test_a_call_instead_of_an_answer_is_a_difference() -> None:
    steps = play(scripted, JOB)
    steps[-1] = said(steps[-1], ToolCallPart("echo", {"text": "more"}, tool_call_id="x"))
    found = compared(scripted, JOB, steps)
    assert found[-1].verdict is Verdict.DIFFERS
    assert "+ fine: echo" in found[-1].diff


def test_only_what_was_committed_is_asked_again() -> None:
    steps = play(scripted, JOB)
    steps[-1] = replace(steps[-1], state=StepState.FAILED, output=None)
    assert verdicts(compared(scripted, JOB, steps)) == [(1, "same"), (4, "same")]
    assert compared(scripted, JOB, []) == []


def test_typed_answers_and_what_was_put_right_are_compared_too() -> None:
    asked = {"ask": "?"}
    steps = play(typed, asked)
    assert verdicts(compared(typed, asked, steps)) == [(1, "same"), (2, "same"), (3, "same")]
    steps[2] = said(steps[2], ToolCallPart("final_answer", {"score": 8}, tool_call_id="2"))
    assert compared(typed, asked, steps)[2].diff == [
        "  final_answer",
        "-   score: 8",
        "+   score: 7",
    ]


def test_a_tool_that_is_gone_is_named() -> None:
    steps = play(scripted, JOB)
    steps[3] = said(steps[3], ToolCallPart("refund", {"usd": 1}, tool_call_id="1-0"))
    assert "not a tool of 'scripted' here: refund" in compared(scripted, JOB, steps)[1].note


def test_a_model_that_gives_no_answer_ends_the_rehearsal() -> None:
    asked: list[int] = []

    def refuse(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(len(messages))
        raise ConnectionRefusedError(111, "nobody there")

    broken = replace(scripted, model=FunctionModel(refuse))
    found = compared(broken, JOB, play(scripted, JOB))
    assert verdicts(found) == [(1, "unanswered")]
    assert "nobody there" in found[0].note
    assert len(asked) == 1


def test_another_model_may_be_asked() -> None:
    told = replace(
        scripted, model=FunctionModel(lambda m, i: ModelResponse(parts=[TextPart("no")]))
    )
    steps = play(scripted, JOB)
    assert compared(told, JOB, steps)[0].verdict is Verdict.DIFFERS
    assert compared(told, JOB, steps, model_name="offline")[0].verdict is Verdict.SAME


def test_an_input_or_model_that_does_not_fit_is_refused() -> None:
    steps = play(scripted, JOB)
    with pytest.raises(InvalidInput, match="does not fit 'scripted' as it is here: turns"):
        compared(scripted, {"turns": 1}, steps)
    with pytest.raises(UnknownModel, match="nonsense"):
        compared(scripted, JOB, steps, model_name="nonsense")


@pytest.mark.parametrize("args", ["{not json", '["a"]', "1"])
def test_arguments_that_are_no_object_are_compared_as_they_are(args: str) -> None:
    response = ModelResponse(parts=[ToolCallPart("echo", args, tool_call_id="x")])
    decision = read_decision(response)
    assert decision == Decision((("echo", args),), None)
    assert decision.lines()[0].startswith("echo ")


def names_of(pipeline: Pipeline, count: int = 4) -> list[CheckpointRow]:
    """The first steps of a job of this pipeline."""
    return [
        row(n + 1, StepKind.FUNCTION, pipeline.name_at(n), parent=n or None, input={"position": n})
        for n in range(count)
    ]


def test_a_pipeline_that_is_as_it_was_is_the_same() -> None:
    found = compare_pipeline(walk, names_of(walk), is_over=True)
    assert verdicts(found) == [(n, "same") for n in (1, 2, 3, 4)]


def test_steps_of_a_pipeline_in_another_order_differ() -> None:
    turned = replace(walk, steps=[walk.steps[0], walk.steps[2], walk.steps[1], walk.steps[3]])
    found = compare_pipeline(turned, names_of(walk), is_over=True)
    assert [each.verdict.value for each in found] == ["same", "differs", "differs", "same"]
    assert found[1].diff == ["- step.walk.second", "+ step.walk.third"]


@pytest.mark.parametrize(("steps", "verdict"), [([0, 1, 2], "differs"), ([0, 1, 2, 3], "same")])
def test_a_pipeline_with_a_step_less_differs(steps: list[int], verdict: str) -> None:
    shorter = replace(walk, steps=[walk.steps[n] for n in steps])
    assert compare_pipeline(shorter, names_of(walk), is_over=True)[-1].verdict.value == verdict


def test_steps_that_are_still_to_come_are_not_missed() -> None:
    assert verdicts(compare_pipeline(walk, names_of(walk, 2), is_over=False)) == [
        (1, "same"),
        (2, "same"),
    ]
    assert compare_pipeline(walk, names_of(walk, 2), is_over=True)[-1].verdict is Verdict.DIFFERS

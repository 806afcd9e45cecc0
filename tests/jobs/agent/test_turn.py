"""A turn: calls to make, the answer, or something to put right."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart

from jobs import Agent, Limits
from jobs.agent.turn import Answer, Call, Calls, Feedback, read_turn


class Score(BaseModel):
    score: int


FREE = Agent("free", "openai:x", "", limits=Limits(tool_calls_per_turn_max=2))
TYPED = Agent("typed", "openai:x", "", output_type=Score)


def read(agent: Agent, *parts: Any) -> Any:
    return read_turn(agent, ModelResponse(parts=list(parts)))


def call(name: str, args: Any = None, call_id: str = "c1") -> ToolCallPart:
    return ToolCallPart(name, args, tool_call_id=call_id)


def test_text_is_the_answer_of_an_agent_that_answers_in_text() -> None:
    assert read(FREE, TextPart("so it is")) == Answer("so it is")


def test_calls_win_over_the_text_beside_them() -> None:
    assert read(FREE, TextPart("let me see"), call("look", {"at": 1})) == Calls(
        (Call("look", "c1", {"at": 1}),)
    )


@pytest.mark.parametrize("parts", [[], [TextPart("")], [TextPart(" \n")], [ThinkingPart("hm")]])
def test_an_empty_answer_is_not_taken(parts: list[Any]) -> None:
    assert isinstance(read(FREE, *parts), Feedback)


def test_a_typed_answer_is_checked_and_kept_as_json() -> None:
    assert read(TYPED, call("final_answer", {"score": "7"})) == Answer({"score": 7})
    assert read(TYPED, call("final_answer", '{"score": 7}')) == Answer({"score": 7})


@pytest.mark.parametrize("args", [{"score": "many"}, {}, '{"score": 7', None])
def test_a_typed_answer_that_does_not_fit_is_sent_back_to_its_call(args: Any) -> None:
    turn = read(TYPED, call("final_answer", args, "c9"))
    assert isinstance(turn, Feedback)
    assert turn.calls == (("final_answer", "c9"),)
    assert ("JSON object" in turn.text) is (args == '{"score": 7')


def test_text_is_not_the_answer_of_an_agent_with_a_typed_one() -> None:
    turn = read(TYPED, TextPart("7"))
    assert isinstance(turn, Feedback)
    assert "final_answer" in turn.text
    assert turn.calls == ()


def test_an_answer_ends_the_turn_whatever_else_was_called() -> None:
    turn = read(TYPED, call("look"), call("final_answer", {"score": 1}, "c2"))
    assert turn == Answer({"score": 1})


def test_a_bad_answer_beside_other_calls_is_told_to_every_call() -> None:
    turn = read(TYPED, call("look", {}, "c1"), call("final_answer", {}, "c2"))
    assert isinstance(turn, Feedback)
    assert turn.calls == (("look", "c1"), ("final_answer", "c2"))


def test_a_tool_may_be_called_like_the_answer_where_answers_are_text() -> None:
    assert isinstance(read(FREE, call("final_answer", {})), Calls)


def test_too_many_calls_at_once_are_all_sent_back() -> None:
    turn = read(FREE, *(call("look", {}, f"c{n}") for n in range(3)))
    assert isinstance(turn, Feedback)
    assert "at most 2" in turn.text
    assert len(turn.calls) == 3


def test_arguments_that_are_no_json_are_kept_for_the_check_to_refuse() -> None:
    for args in ('{"at": ', "[1, 2]"):
        turn = read(FREE, call("look", args))
        assert isinstance(turn, Calls)
        assert turn.calls[0].args == {"not valid JSON": args}

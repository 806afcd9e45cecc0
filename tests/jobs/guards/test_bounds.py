from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobs.guards.guard import Kind, Stage
from jobs.guards.loops import Loops, Turns
from jobs.guards.sizes import Sizes, Types
from store.rows import CheckpointRow
from store.states import StepKind
from tests.jobs.guards.rounds import judge


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * 11, "more than 10 characters"),
        ({"a": ["x" * 6, "y" * 6]}, "more than 10 characters"),
        ({"k" * 11: 1}, "more than 10 characters"),
        ([[[[1]]]], "more than 3 deep"),
        (list(range(50)), "more than 20 parts"),
    ],
)
def test_what_is_too_large_is_told_to_the_model_that_made_it(value: Any, words: str) -> None:
    small = Sizes(characters_max=dict.fromkeys(Stage, 10), depth_max=3, parts_max=20)
    verdict = judge(small, value)
    assert verdict.kind is Kind.RETRY
    assert words in verdict.reason
    assert judge(small, value, Stage.TOOL_RESULT).kind is Kind.BLOCK


def test_what_fits_passes() -> None:
    small = Sizes(characters_max=dict.fromkeys(Stage, 10), depth_max=3, parts_max=20)
    assert judge(small, {"a": ["x" * 8, 1, None]}).kind is Kind.ALLOW
    assert judge(Sizes(), {"rows": [["F9", 20.2]] * 1000}).kind is Kind.ALLOW


class Order(BaseModel):
    number: str


def test_a_result_of_another_type_is_withheld_and_an_answer_is_asked_for_again() -> None:
    typed = Types({"find": Order, "output": list[int]})
    assert judge(typed, {"number": "A"}, Stage.TOOL_RESULT, tool="find").kind is Kind.ALLOW
    assert judge(typed, {"number": 7}, Stage.TOOL_RESULT, tool="find").kind is Kind.BLOCK
    assert judge(typed, 7, Stage.TOOL_RESULT, tool="other").kind is Kind.ALLOW
    assert judge(typed, ["x"], Stage.JOB_OUTPUT).kind is Kind.RETRY


def test_a_call_made_once_too_often_halts() -> None:
    loops = Loops(in_a_row_max=3, in_all_max=6)
    assert judge(loops, {}, in_a_row=3, in_all=6).kind is Kind.ALLOW
    assert judge(loops, {}, in_a_row=4, in_all=4).kind is Kind.HALT
    assert judge(loops, {}, in_a_row=1, in_all=7).kind is Kind.HALT


def step(seq: int, kind: StepKind, parent: int | None = None, **given: Any) -> CheckpointRow:
    told = dict.fromkeys(CheckpointRow.__slots__) | {
        "tenant_id": UUID(int=1), "job_id": UUID(int=2), "seq": seq, "kind": kind,
        "parent_seq": parent, "input": given,
    }  # fmt: skip
    return CheckpointRow(**told)  # type: ignore[arg-type]


def test_turns_are_counted_and_not_the_calls_of_one_turn() -> None:
    model, tool = StepKind.MODEL, StepKind.TOOL
    steps = [
        step(1, model),
        step(2, tool, 1, tool="echo", args={"a": 1, "b": 2}),
        step(3, tool, 1, tool="echo", args={"b": 2, "a": 1}),
        step(4, model, 3),
        step(5, tool, 4, tool="echo", args={"a": 9}),
        step(6, model, 5),
        step(7, tool, 6, tool="echo", args={"a": 1, "b": 2}),
        step(8, model, 7),
        step(9, tool, 8, tool="echo", args={"a": 1, "b": 2}),
    ]
    turns = Turns.read(steps)
    assert turns.count("echo", {"b": 2, "a": 1}) == (2, 3)
    assert turns.count("echo", {"a": 9}) == (0, 1)
    assert turns.count("other", {"a": 9}) == (0, 0)

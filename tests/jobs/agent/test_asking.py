"""The tool by which a model asks a person: what it is shown, what it returns, what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import AskUser, ToolFailed, ask_user
from jobs.errors import Misdeclared


def test_a_model_is_shown_a_question_and_choices() -> None:
    made = ask_user(name="ask_the_boss")
    schema = made.definition.parameters_json_schema
    assert made.name == made.definition.name == "ask_the_boss"
    assert (sorted(schema["properties"]), schema["required"]) == (
        ["choices", "question"],
        ["question"],
    )
    assert (made.effect, made.idempotency, made.may_ride) == ("read", "safe", True)


def test_a_call_asks_and_waits_for_the_answer() -> None:
    made = ask_user(expires_s=60, default="no")
    args = made.validate({"question": "Shall we?", "choices": ["yes", "no"]})
    assert made(**args) == AskUser("Shall we?", ("yes", "no"), expires_s=60, default="no")
    assert ask_user()(question="Who?") == AskUser("Who?")


@pytest.mark.parametrize("args", [{"question": " "}, {"question": "a", "choices": ["b", "b"]}])
def test_a_question_that_cannot_be_asked_is_told_to_the_model(args: dict[str, Any]) -> None:
    with pytest.raises(ToolFailed):
        ask_user()(**args)


@pytest.mark.parametrize("given", [{"expires_s": -1}, {"default": object()}])
def test_what_can_never_be_asked_is_told_where_it_is_declared(given: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        ask_user(**given)

"""The tool that hands work to other agents: what a model is shown, and what it returns."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jobs import Child, Delegate, delegate_to
from jobs.errors import Misdeclared


def test_a_model_is_shown_the_agents_it_may_name() -> None:
    made = delegate_to("analyst", "clerk", name="hand_over")
    schema = made.definition.parameters_json_schema
    assert made.name == made.definition.name == "hand_over"
    assert schema["properties"]["agent"]["enum"] == ["analyst", "clerk"]
    assert sorted(schema["required"]) == ["agent", "input"]
    assert "another agent" in (made.definition.description or "")


def test_a_call_asks_for_one_job_and_waits_for_it() -> None:
    made = delegate_to("analyst", "clerk", expires_s=60)
    args = made.validate({"agent": "clerk", "input": {"ask": "why?"}})
    assert made(**args) == Delegate(Child("clerk", {"ask": "why?"}), expires_s=60)


@pytest.mark.parametrize(
    "args", [{"agent": "root", "input": {}}, {"agent": "clerk"}, {"agent": "clerk", "input": "x"}]
)
def test_nobody_else_can_be_named(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        delegate_to("analyst", "clerk").validate(args)


def test_it_changes_what_is_ours_and_may_be_called_again() -> None:
    made = delegate_to("clerk", origins=["chat"])
    assert (made.effect, made.idempotency, made.may_ride) == ("write", "safe", False)
    assert made.origins == {"chat", "agent"}


@pytest.mark.parametrize("agents", [(), ("",), ("a", "a"), (7,)])
def test_what_names_no_agents_is_refused(agents: Any) -> None:
    with pytest.raises(Misdeclared, match="delegate_to"):
        delegate_to(*agents)

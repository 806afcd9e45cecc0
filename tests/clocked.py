"""Agents for the tests of schedules: one that may schedule, and one that is scheduled by it."""

from __future__ import annotations

from typing import Any

from pydantic_ai.models.function import FunctionModel

from jobs import Agent, Child, Delegate, Limits, Pipeline, reschedule_self, schedule_tool, tool
from tests.programs import Script, follow_script


@tool(effect="read")
def hand_on(script: dict[str, Any]) -> Delegate:
    """Let a job of the same agent follow this script."""
    return Delegate(Child("clocked", script))


def give_back(value: Any) -> Any:
    return value


clocked = Agent(
    name="clocked",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=[schedule_tool(agents=["chime"], every_s_min=300, policy=[]), reschedule_self(), hand_on],
    input_type=Script,
    offline=lambda: FunctionModel(follow_script, model_name="script"),
    limits=Limits(failed_tools_max=9),
)
chime = Pipeline(name="chime", steps=[give_back], deadline_s=900.0)

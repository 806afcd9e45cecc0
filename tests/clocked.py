"""Agents for the tests of schedules: some that may schedule, and one that is scheduled by them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from jobs import (
    Agent,
    Child,
    Delegate,
    Limits,
    Pipeline,
    ToolContext,
    always,
    confirm_if,
    delegate_to,
    reschedule_self,
    schedule_tool,
    tool,
)
from jobs.agent.diary import ScheduleWish
from tests.programs import (
    Script,
    as_input,
    echo,
    follow_script,
    follow_script_and_tell,
    heard,
    note,
)


@tool(effect="read")
def hand_on(script: dict[str, Any]) -> Delegate:
    """Let a job of the same agent follow this script."""
    return Delegate(Child("clocked", script))


def give_back(value: Any) -> Any:
    return value


class Sprawl(BaseModel):
    """What a job's schedules are called, with a number behind it."""

    name: str


SPRAWL = 3


def sprawl(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Ask for three schedules of the same agent, whether or not there is a tool for that."""
    note(f"offered {' '.join(sorted(tool.name for tool in info.function_tools))}")
    if len(messages) > 1:
        return ModelResponse(parts=[TextPart("done")])
    (prompt,) = (part for part in messages[0].parts if part.part_kind == "user-prompt")
    name = Sprawl.model_validate_json(str(prompt.content)).name
    wanted = [{"name": f"{name}-{n}", "input": {"name": f"{name}-{n}"}} for n in range(SPRAWL)]
    return ModelResponse(
        parts=[
            ToolCallPart("schedule", each | {"every_s": 3600}, tool_call_id=each["name"])
            for each in wanted
        ]
    )


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
sprawling = Agent(
    name="sprawling",
    model=FunctionModel(sprawl, model_name="sprawl"),
    instructions="Never do anything yourself.",
    tools=[schedule_tool()],
    input_type=Sprawl,
    limits=Limits(failed_tools_max=9),
)


# --- who tries it in other ways -------------------------------------------------------------------


@tool(effect="write", idempotency="key", policy=[])
def jot(ctx: ToolContext, name: str) -> dict[str, Any]:
    """Make a schedule without the tool that is there for it."""
    assert ctx.schedules is not None
    return ctx.schedules.make(ScheduleWish(name, "sly", as_input(), every_s=3600))


@tool(effect="write", idempotency="key", policy=[])
def jot_quietly(ctx: ToolContext, name: str) -> str:
    """Try to make a schedule, and say nothing of what came of it."""
    try:
        jot.function(ctx, name)
    except Exception:  # noqa: BLE001 - as careless tools do
        return "all is well"
    return "made"


def name_of(value: dict[str, Any]) -> str:
    return str(value["name"])


def try_it(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Follow the script, while the model is in order."""
    if heard("model") == "fail":
        raise RuntimeError("the model is out of order")
    return follow_script_and_tell(messages, info)


sly = Agent(
    name="sly",
    model=FunctionModel(try_it, model_name="script"),
    instructions="Follow the script.",
    tools=[
        schedule_tool(policy=[]),
        reschedule_self(),
        jot,
        jot_quietly,
        echo,
        delegate_to("sly").with_policy([confirm_if(always, name="ask", reason="Ask first.")]),
        delegate_to("sly", name="pass_on"),
    ],
    input_type=Script,
)
jotting = Pipeline(name="jotting", steps=[name_of, jot])

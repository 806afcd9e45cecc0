"""Agents and pipelines for tests: what they do is in the job's input, what they did is in a ledger.

The ledger stands for the world outside: a file that is only ever appended to, one line an effect.
Gates hold a step until the test lets it pass, so nothing has to be timed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from pydantic import BaseModel
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from jobs import Agent, Limits, Pipeline, StepContext, ToolContext, ToolFailed, tool

GATE_S_MAX = 60.0


class Wanted(BaseModel):
    """One call that the scripted model is to make."""

    tool: str
    args: dict[str, Any] | str = {}


class Script(BaseModel):
    """What the scripted model does at each turn, and what it answers in the end."""

    turns: list[list[Wanted]] = []
    answer: str = "done"
    folder: str = ""


def note(line: str) -> None:
    """Write a line into the ledger, whole, whoever else writes."""
    ledger = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, f"{line}\n".encode())
    finally:
        os.close(ledger)


def pass_gate(name: str) -> None:
    """Wait until the test has opened the gate."""
    gate = Path(os.environ["TEST_LEDGER"]).with_name(f"gate-{name}")
    give_up_at = monotonic() + GATE_S_MAX
    while not gate.exists():
        if monotonic() > give_up_at:
            raise RuntimeError(f"nobody opened the gate {name!r}")
        Event().wait(0.01)


# --- tools ----------------------------------------------------------------------------------------


@tool(effect="read")
def echo(text: str) -> str:
    """Say it again.

    Args:
        text: what to say.
    """
    return text


@tool(effect="read")
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="external", idempotency="key")
def post(ctx: ToolContext, what: str, gate: str = "") -> str:
    """Do something to the world, once per key."""
    note(f"begin {what} {ctx.key}")
    if gate:
        pass_gate(gate)
    note(f"end {what} {ctx.key}")
    return what


@tool(effect="external", idempotency="none", timeout_s=60)
def charge(ctx: ToolContext, gate: str = "") -> str:
    """Take money, which nobody wants to happen twice."""
    note(f"begin charge {ctx.key}")
    if gate:
        pass_gate(gate)
    note(f"end charge {ctx.key}")
    return "charged"


@tool(effect="read")
def complain(message: str) -> str:
    """Fail in a way the model can act on."""
    raise ToolFailed(message)


@tool(effect="read")
def stumble(message: str) -> str:
    """Raise what nobody expected."""
    raise ValueError(message)


@tool(effect="read")
def leave() -> str:
    """Call sys.exit, as a script would."""
    sys.exit(3)


@tool(effect="read")
async def leave_the_loop() -> str:
    """Call sys.exit in a coroutine."""
    await asyncio.sleep(0)
    sys.exit(3)


@tool(effect="read")
def give_nonsense() -> Any:
    """Return what no JSON can say."""
    return object()


@tool(effect="read")
def give_odd_text() -> Any:
    """Return what JSON can say and Postgres cannot keep."""
    return {"nul": "a\x00b", "half": "\ud800", "none": float("nan")}


@tool(effect="read")
def give_much(megabytes: int) -> str:
    """Return a large text."""
    return "x" * (megabytes * 2**20)


@tool(effect="read", timeout_s=0.5)
def hang(gate: str) -> str:
    """Wait for longer than allowed, deaf to everything."""
    note("begin hang")
    pass_gate(gate)
    note("end hang")
    return "too late"


@tool(effect="read", timeout_s=0.5)
async def hang_softly() -> str:
    """Wait for longer than allowed, on the loop."""
    await asyncio.sleep(60)
    return "too late"


@tool(effect="external", idempotency="none", timeout_s=0.5)
def hang_over_money(gate: str) -> str:
    """Hang in a call that must not happen twice."""
    note("begin money")
    pass_gate(gate)
    return "too late"


@tool(effect="read")
def refuse_connections(times: int) -> str:
    """Find nobody at the other end, so many times."""
    tries = Path(os.environ["TEST_LEDGER"]).with_name("tries")
    count = len(tries.read_text()) if tries.exists() else 0
    if count < times:
        tries.write_text("x" * (count + 1))
        raise ConnectionRefusedError(111, "Connection refused")
    return f"after {count}"


@tool(effect="external", idempotency="none")
def break_off() -> str:
    """Lose the connection after the request was sent."""
    note("sent")
    raise ConnectionResetError(104, "Connection reset by peer")


@tool(effect="write", idempotency="key")
def keep(ctx: ToolContext, name: str, text: str, gate: str = "") -> dict[str, str]:
    """Keep an artifact under a name, after passing a gate."""
    note(f"begin keep {ctx.key}")
    if gate:
        pass_gate(gate)
    kept = ctx.artifacts.save(name, "text/plain", text.encode())
    ctx.progress("kept", 1.0)
    return {"artifact": str(kept.id)}


# --- models ---------------------------------------------------------------------------------------


def read_script(messages: list[ModelMessage]) -> Script:
    prompt = next(
        part.content
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    )
    return Script.model_validate_json(str(prompt))


def follow_script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """The next turn of the script; the answer after the last."""
    script = read_script(messages)
    turn = sum(isinstance(message, ModelResponse) for message in messages)
    if turn >= len(script.turns):
        returns = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        told = ", ".join(str(part.content) for part in returns)
        answer = f"{script.answer}: {told}" if told else script.answer
        return ModelResponse(parts=[TextPart(answer)])
    return ModelResponse(
        parts=[
            ToolCallPart(call.tool, call.args, tool_call_id=f"{turn}-{n}")
            for n, call in enumerate(script.turns[turn])
        ]
    )


class Verdict(BaseModel):
    """The final answer."""

    score: int


def answer_in_types(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Answer in text, then with the wrong type, then rightly, by what feedback there was."""
    answers = sum(isinstance(message, ModelResponse) for message in messages)
    if answers == 0:
        return ModelResponse(parts=[TextPart("I think 7.")])
    score: Any = "seven" if answers == 1 else 7
    return ModelResponse(
        parts=[ToolCallPart(info.output_tools[0].name, {"score": score}, tool_call_id=f"{answers}")]
    )


def answer_never(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Go on calling for ever."""
    return ModelResponse(parts=[ToolCallPart("echo", {"text": str(len(messages))})])


TOOLS = (
    echo, add, post, charge, complain, stumble, leave, leave_the_loop, give_nonsense,
    give_odd_text, give_much, hang, hang_softly, hang_over_money, refuse_connections, break_off,
    keep,
)  # fmt: skip

scripted = Agent(
    name="scripted",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=TOOLS,
    input_type=Script,
    offline=lambda: FunctionModel(follow_script, model_name="script"),
    limits=Limits(failed_tools_max=3),
)
typed = Agent(
    name="typed",
    model=FunctionModel(answer_in_types, model_name="typed"),
    instructions="Judge.",
    output_type=Verdict,
)
endless = Agent(
    name="endless",
    model=FunctionModel(answer_never, model_name="endless"),
    instructions="Never stop.",
    tools=(echo,),
    limits=Limits(model_steps_max=3),
)


# --- pipelines ------------------------------------------------------------------------------------


class Walk(BaseModel):
    """How far to walk, and which step waits at which gate."""

    gates: dict[str, str] = {}
    raises: str = ""


def _walk(name: str, ctx: StepContext, value: Any) -> Any:
    asked: Walk = ctx.input
    note(f"begin {name} {ctx.key}")
    if name in asked.gates:
        pass_gate(asked.gates[name])
    if asked.raises and name == "second":
        raise ValueError(asked.raises.replace("NUL", "\x00"))
    note(f"end {name} {ctx.key}")
    return [*(value if isinstance(value, list) else []), name]


def first(ctx: StepContext, value: Any) -> Any:
    return _walk("first", ctx, value)


def second(ctx: StepContext, value: Any) -> Any:
    return _walk("second", ctx, value)


async def third(ctx: StepContext, value: Any) -> Any:
    return _walk("third", ctx, value)


def fourth(ctx: StepContext, value: Any) -> Any:
    return _walk("fourth", ctx, value)


def count_up(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else 1


walk = Pipeline(name="walk", steps=[first, second, third, fourth], input_type=Walk)
count = Pipeline(name="count", steps=[count_up], repeat=20)


def as_input(*turns: list[tuple[str, Any]], answer: str = "done") -> dict[str, Any]:
    """The input of a scripted job: each turn a list of (tool, arguments)."""
    wanted = [[Wanted(tool=name, args=args) for name, args in turn] for turn in turns]
    return json.loads(Script(turns=wanted, answer=answer).model_dump_json())

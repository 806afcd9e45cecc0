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

from jobs import (
    Agent,
    AskUser,
    Child,
    Delegate,
    Found,
    Limits,
    Pipeline,
    Sleep,
    StepContext,
    ToolContext,
    ToolFailed,
    WaitFor,
    delegate_to,
    tool,
)
from store.errors import Unreachable

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


def heard(name: str) -> str:
    """What the test has said about the world under this name; nothing at first."""
    said = Path(os.environ["TEST_LEDGER"]).with_name(f"say-{name}")
    return said.read_text() if said.exists() else ""


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


@tool(effect="external", idempotency="key", policy=[])
def post(ctx: ToolContext, what: str, gate: str = "") -> str:
    """Do something to the world, once per key."""
    note(f"begin {what} {ctx.key}")
    if gate:
        pass_gate(gate)
    note(f"end {what} {ctx.key}")
    return what


@tool(effect="external", idempotency="none", timeout_s=60, policy=[])
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


@tool(effect="external", idempotency="none", timeout_s=0.5, policy=[])
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


@tool(effect="external", idempotency="none", policy=[])
def break_off() -> str:
    """Lose the connection after the request was sent."""
    note("sent")
    raise ConnectionResetError(104, "Connection reset by peer")


@tool(effect="write", idempotency="key", policy=[])
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


# --- effects --------------------------------------------------------------------------------------


def _pay(ctx: ToolContext, amount: Any) -> str:
    """Pay, as the world allows; a repetition shows in the ledger."""
    note(f"pay {amount} {ctx.key}")
    match heard("world"):
        case "reset":
            raise ConnectionResetError(104, "Connection reset by peer")
        case "refuse":
            raise ConnectionRefusedError(111, "Connection refused")
        case "reject":
            raise ValueError("that is no amount")
        case "hold":
            pass_gate("pay")
        case "lose the store":
            raise Unreachable("Postgres does not answer.")
    return f"paid {amount}"


def look_up_payment(key: str) -> Found | None:
    """Look whether it was paid, as far as the test has said."""
    note(f"look {key}")
    match heard("lookup"):
        case "found":
            return Found("paid before")
        case "nonsense":
            return "paid"  # type: ignore[return-value]
        case "unkeepable":
            return Found(object())
        case "exit":
            sys.exit(3)
        case "raise":
            raise RuntimeError("the bank is closed")
        case "hang":
            pass_gate("look")
    return None


async def look_up_softly(key: str) -> Found | None:
    await asyncio.sleep(0)
    return look_up_payment(key)


@tool(effect="external", idempotency="none", policy=[])
def pay(ctx: ToolContext, amount: Any) -> str:
    """Pay, and nobody can look whether it was paid."""
    return _pay(ctx, amount)


@tool(effect="external", idempotency="none", lookup=look_up_payment, policy=[])
def pay_traced(ctx: ToolContext, amount: Any) -> str:
    """Pay where one can look."""
    return _pay(ctx, amount)


@tool(effect="external", idempotency="key", policy=[])
def pay_once(ctx: ToolContext, amount: Any) -> str:
    """Pay where the key makes it happen once."""
    return _pay(ctx, amount)


@tool(effect="external", idempotency="key", lookup=look_up_softly, policy=[])
def pay_once_traced(ctx: ToolContext, amount: Any) -> str:
    """Pay where the key makes it happen once, and one can look."""
    return _pay(ctx, amount)


@tool(effect="external", idempotency="none", timeout_s=0.3, policy=[])
def pay_in_haste(ctx: ToolContext, amount: Any) -> str:
    """Pay, with little time for it."""
    return _pay(ctx, amount)


@tool(effect="external", idempotency="none", timeout_s=0.3, lookup=look_up_payment, policy=[])
def pay_in_haste_traced(ctx: ToolContext, amount: Any) -> str:
    """Pay where one can look, with little time for it."""
    return _pay(ctx, amount)


@tool(effect="read")
def peek(ctx: ToolContext, gate: str) -> str:
    """Look at the world, which changes nothing."""
    note(f"peek {ctx.key}")
    pass_gate(gate)
    return "seen"


@tool(effect="read")
async def dream(ctx: ToolContext) -> str:
    """Take a minute, on the loop."""
    note(f"dream {ctx.key}")
    await asyncio.sleep(60)
    return "a dream"


def reckon(value: Any) -> int:
    return 7


payer = Agent(
    name="payer",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=(
        pay, pay_traced, pay_once, pay_once_traced, pay_in_haste, pay_in_haste_traced,
        peek, dream, echo,
    ),
    input_type=Script,
)  # fmt: skip
till = Pipeline(name="till", steps=[reckon, pay])
advance = Pipeline(name="advance", steps=[pay, reckon])
traced_till = Pipeline(name="traced_till", steps=[reckon, pay_traced])


# --- waits ----------------------------------------------------------------------------------------


def make_wait(asked: dict[str, Any]) -> Any:
    """The wait that is asked for, by its class and fields; anything else is the result itself."""
    kind, more = asked.get("wait"), {k: v for k, v in asked.items() if k != "wait"}
    if kind == "Delegate":
        children = [Child(**child) for child in more.pop("children")]
        return Delegate(*children, **more)
    kinds = {"Sleep": Sleep, "WaitFor": WaitFor, "AskUser": AskUser}
    return kinds[kind](**more) if kind in kinds else asked


@tool(effect="read")
def wish(wait: dict[str, Any]) -> Any:
    """Wait for whatever is asked for."""
    return make_wait(wait)


@tool(effect="read")
async def wish_softly(wait: dict[str, Any]) -> Any:
    """Wait for whatever is asked for, out of a coroutine."""
    await asyncio.sleep(0)
    return make_wait(wait)


@tool(effect="external", idempotency="none", policy=[])
def pay_and_wish(ctx: ToolContext, wait: dict[str, Any]) -> Any:
    """Change the world, and then wait."""
    note(f"pay {ctx.key}")
    return make_wait(wait)


class Wishes(BaseModel):
    """What to wait for, in this order."""

    waits: list[dict[str, Any]]


def begin_wishing(ctx: StepContext) -> Any:
    note(f"wish {ctx.key}")
    return make_wait(ctx.input.waits[0])


def go_on_wishing(ctx: StepContext, value: Any) -> Any:
    note(f"got {json.dumps(value)}")
    return make_wait(ctx.input.waits[1]) if len(ctx.input.waits) > 1 else value


def tell_wish(value: Any) -> Any:
    return {"got": value}


wisher = Agent(
    name="wisher",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=(wish, wish_softly, pay_and_wish, echo, peek),
    input_type=Script,
)
wishing = Pipeline(
    name="wishing", steps=[begin_wishing, go_on_wishing, tell_wish], input_type=Wishes
)


# --- how a job came to be -------------------------------------------------------------------------


@tool(effect="external", idempotency="none", origins=("api", "chat"), policy=[])
def reach(ctx: ToolContext, what: Any) -> str:
    """Change the world, for those who come in person."""
    note(f"reach {what} {ctx.key}")
    return f"reached {what}"


@tool(effect="read", optional=True, origins=("api", "chat"))
def reach_perhaps(ctx: ToolContext, what: Any) -> str:
    """Look at the world, for those who come in person."""
    note(f"reach {what} {ctx.key}")
    return f"reached {what}"


def follow_script_and_tell(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Follow the script, and write down which tools were offered."""
    note(f"offered {' '.join(sorted(tool.name for tool in info.function_tools))}")
    return follow_script(messages, info)


RECURSION_TURNS = 2


def delegate_again(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Ask for three more jobs like this one, and for what may not be had, at every turn."""
    if heard("model") == "fail":
        raise RuntimeError("the model is out of order")
    note(f"offered {' '.join(sorted(tool.name for tool in info.function_tools))}")
    turn = sum(isinstance(message, ModelResponse) for message in messages)
    if turn >= RECURSION_TURNS:
        return ModelResponse(parts=[TextPart("gave up")])
    more = {"agent": "recursive", "input": {"ask": "go on"}}
    wanted = [("delegate", more)] * 3 + [("reach", {"what": "everything"})]
    return ModelResponse(
        parts=[
            ToolCallPart(tool, args, tool_call_id=f"{turn}-{n}")
            for n, (tool, args) in enumerate(wanted)
        ]
    )


guarded = Agent(
    name="guarded",
    model=FunctionModel(follow_script_and_tell, model_name="script"),
    instructions="Follow the script.",
    tools=(reach, reach_perhaps, echo, delegate_to("guarded", "walk", "guarded_line")),
    input_type=Script,
)
recursive = Agent(
    name="recursive",
    model=FunctionModel(delegate_again, model_name="recursion"),
    instructions="Never do anything yourself.",
    # Nobody is asked about a call that is not to be made anyway.
    tools=(delegate_to("recursive"), reach.with_policy(None)),
    limits=Limits(failed_tools_max=100),
)
guarded_line = Pipeline(name="guarded_line", steps=[reckon, reach])
guarded_gap = Pipeline(name="guarded_gap", steps=[reckon, reach_perhaps])


# --- models that take long, and code that changes -------------------------------------------------


async def ponder(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Think for a minute."""
    note("ponder")
    await asyncio.sleep(60)
    return ModelResponse(parts=[TextPart("42")])


thinker = Agent(
    name="thinker", model=FunctionModel(ponder, model_name="ponder"), instructions="Think."
)
# A deploy: the same name, and one step more where the variable is set.
deployed = Pipeline(
    name="deployed",
    steps=[first, second, *([third] if os.environ.get("TEST_DEPLOY") == "new" else [])],
    input_type=Walk,
)


def as_input(*turns: list[tuple[str, Any]], answer: str = "done") -> dict[str, Any]:
    """The input of a scripted job: each turn a list of (tool, arguments)."""
    wanted = [[Wanted(tool=name, args=args) for name, args in turn] for turn in turns]
    return json.loads(Script(turns=wanted, answer=answer).model_dump_json())


# --- what goes on until the gate opens ------------------------------------------------------------


class Ticking(BaseModel):
    """The gate that ends it."""

    gate: str


TICK_S = 0.02


def tick_until_open(ctx: StepContext, value: Any) -> str:
    """Leave a mark with this process and the system's monotonic time, over and over."""
    try:
        while not _is_open(ctx.input.gate):
            _tick(ctx)
            Event().wait(TICK_S)
    finally:
        note(f"left {ctx.key} {os.getpid()}")
    return "done"


async def tick_softly_until_open(ctx: StepContext, value: Any) -> str:
    """The same on the loop."""
    try:
        while not _is_open(ctx.input.gate):
            _tick(ctx)
            await asyncio.sleep(TICK_S)
    finally:
        note(f"left {ctx.key} {os.getpid()}")
    return "done"


def _tick(ctx: StepContext) -> None:
    note(f"tick {ctx.key} {os.getpid()} {monotonic():.4f}")


def _is_open(gate: str) -> bool:
    return Path(os.environ["TEST_LEDGER"]).with_name(f"gate-{gate}").exists()


ticking = Pipeline(name="ticking", steps=[tick_until_open], input_type=Ticking)
ticking_softly = Pipeline(name="ticking_softly", steps=[tick_softly_until_open], input_type=Ticking)

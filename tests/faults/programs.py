"""The workload: programs of ten steps whose output follows from their input, whatever happens.

    chain     a pipeline: plain steps, effects with a key and without, an artifact
    patient   a pipeline that sleeps, waits for a signal, and asks a person
    parent    a pipeline that waits for two children
    fanout    an agent: two turns of parallel calls that join
    mailer    an agent whose calls send mail, with a key and without
    buyer     an agent one of whose calls needs a yes

`parent`, its children and `mailer` have budgets, more than ample, so that the books are kept.

`expect` says what a job has to come to.
"""

from __future__ import annotations

from typing import Any

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

from jobs import Agent, AskUser, Child, Delegate, Limits, Pipeline, Sleep, StepContext, WaitFor
from tests.faults import deeds
from tests.faults.deeds import Task, Value, fold

DOZE_S = 0.5
# What a person says to every question of these programs.
ANSWER = "yes"
# More than any of these jobs uses: their budgets are there for the books to be checked.
AMPLE = 1_000


def payload_of(token: str) -> Value:
    """What is sent with the signal that a patient job waits for."""
    return {"token": token, "n": 4, "sum": f"signal of {token}"}


# --- pipelines ------------------------------------------------------------------------------------


def doze(value: Value) -> Sleep:
    return Sleep(seconds=DOZE_S, value=fold(value, "doze"))


def listen() -> WaitFor:
    return WaitFor("go")


def ask() -> AskUser:
    return AskUser("May it go on?", choices=(ANSWER, "no"))


def hear(ctx: StepContext, value: str) -> Value:
    return fold({"token": ctx.input.token, "n": 7, "sum": value}, "hear")


def delegate(ctx: StepContext, value: Value) -> Delegate:
    tokens = children_of(ctx.input.token)
    return Delegate(*[Child("child", {"token": each}) for each in tokens])


def merge(ctx: StepContext, value: list[Value]) -> Value:
    sums = [each["output"]["sum"] for each in value]
    return fold({"token": ctx.input.token, "n": 2, "sum": " ".join(sums)}, "merge")


def children_of(token: str) -> tuple[str, str]:
    return f"{token}/first", f"{token}/second"


CHAIN = ("begin", "gather", "post_note", "sort", "nap", "book", "weigh", "keep", "polish", "finish")
CHILD = ("begin", "book", "finish")
AFTER_MERGE = ("gather", "post_note", "nap", "book", "weigh", "polish", "finish")


def steps_of(names: tuple[str, ...]) -> list[Any]:
    return [getattr(deeds, name) for name in names]


chain = Pipeline(name="chain", steps=steps_of(CHAIN), input_type=Task)
child = Pipeline(
    name="child", steps=steps_of(CHILD), input_type=Task, limits=Limits(steps_max=AMPLE)
)
parent = Pipeline(
    name="parent",
    steps=[deeds.begin, delegate, merge, *steps_of(AFTER_MERGE)],
    input_type=Task,
    limits=Limits(steps_max=AMPLE, tree_steps_max=AMPLE),
)
patient = Pipeline(
    name="patient",
    steps=[
        *(deeds.begin, doze, deeds.gather, listen, deeds.post_note, deeds.book),
        *(ask, hear, deeds.keep, deeds.finish),
    ],
    input_type=Task,
)


# --- agents ---------------------------------------------------------------------------------------

TURNS = {
    "fanout": (("look", "post", "charge", "charge"), ("file", "post", "charge")),
    "buyer": (("look", "buy"),),
    "mailer": (("look", "mail_keyed", "mail_once"), ("look", "mail_once", "look", "post")),
}
SAYS = {"look": "saw", "file": "filed", "post": "posted", "charge": "charged", "buy": "bought"}


def calls_of(name: str, turn: int, token: str) -> list[ToolCallPart]:
    return [
        ToolCallPart(called, {"what": f"{token}/{turn}-{n}"}, tool_call_id=f"{turn}-{n}")
        for n, called in enumerate(TURNS[name][turn])
    ]


def follow(name: str) -> FunctionModel:
    """A model that makes the calls of each turn, and then says what came of all of them."""

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        parts = [p for m in messages if isinstance(m, ModelRequest) for p in m.parts]
        asked = next(p.content for p in parts if isinstance(p, UserPromptPart))
        token = Task.model_validate_json(str(asked)).token
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn < len(TURNS[name]):
            return ModelResponse(parts=calls_of(name, turn, token))
        came = sorted(result_of(p) for p in parts if isinstance(p, ToolReturnPart))
        return ModelResponse(parts=[TextPart("; ".join(came))])

    return FunctionModel(answer, model_name=name)


def result_of(part: ToolReturnPart) -> str:
    """What a call came to, also when a person has changed its arguments."""
    told = part.content
    return str(told["result"] if isinstance(told, dict) else told)


fanout = Agent(
    name="fanout",
    model=follow("fanout"),
    instructions="Follow the script.",
    tools=(deeds.look, deeds.file, deeds.post, deeds.charge),
    input_type=Task,
    limits=Limits(failed_tools_max=0),
)
buyer = Agent(
    name="buyer",
    model=follow("buyer"),
    instructions="Follow the script.",
    tools=(deeds.look, deeds.buy),
    input_type=Task,
    limits=Limits(failed_tools_max=0),
)
mailer = Agent(
    name="mailer",
    model=follow("mailer"),
    instructions="Follow the script.",
    tools=(deeds.look, deeds.post, deeds.mail_keyed, deeds.mail_once),
    input_type=Task,
    limits=Limits(failed_tools_max=0, steps_max=AMPLE, tokens_max=1_000 * AMPLE),
)


# --- what has to come of them ---------------------------------------------------------------------


def fold_all(value: Value, *names: str) -> Value:
    for name in names:
        value = fold(value, name)
    return value


def expect(program: str, asked: Value) -> Any:
    """The output that a job of this program and input has to come to."""
    token = asked["token"]
    match program:
        case "chain":
            return fold_all({"token": token}, *CHAIN)
        case "child":
            return fold_all({"token": token}, *CHILD)
        case "patient":
            answered = {"token": token, "n": 7, "sum": ANSWER}
            return fold_all(answered, "hear", "keep", "finish")
        case "parent":
            sums = [expect("child", {"token": each})["sum"] for each in children_of(token)]
            merged = {"token": token, "n": 2, "sum": " ".join(sums)}
            return fold_all(merged, "merge", *AFTER_MERGE)
        case _:
            return expect_calls(program, token)


def expect_calls(program: str, token: str) -> str:
    """What an agent says when every call of it has come to what it should."""
    return "; ".join(
        sorted(
            f"{SAYS.get(call.tool_name, 'mailed')} {token}/{turn}-{n}"
            for turn in range(len(TURNS[program]))
            for n, call in enumerate(calls_of(program, turn, token))
        )
    )

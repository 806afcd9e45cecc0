"""Programs whose calls need a yes, by a policy that a test can change while jobs wait."""

from __future__ import annotations

import json
from typing import Any

from pydantic_ai.models.function import FunctionModel

from jobs import Agent, Pipeline, ToolContext, always, approve_if, confirm_if, deny_if, tool
from tests.programs import Script, follow_script, heard, note

LARGE, HUGE, ABSURD = 100, 1_000, 1_000_000


def strictly(amount: int) -> int:
    """The amount, as strict as the policy is now."""
    return amount * (10 if heard("policy") == "stricter" else 1)


# Small refunds are free, large ones confirmed, huge ones approved, absurd ones denied.
by_amount = [
    deny_if(
        lambda amount, **_: strictly(amount) > ABSURD,
        name="absurd",
        reason="Nobody refunds that much.",
    ),
    approve_if(
        lambda amount, **_: strictly(amount) > HUGE,
        role="finance",
        quorum=2,
        name="huge",
        reason="It is huge.",
    ),
    confirm_if(lambda amount, **_: strictly(amount) > LARGE, name="large", reason="It is large."),
]


@tool(effect="external", idempotency="none", policy=by_amount)
def refund(ctx: ToolContext, amount: int) -> str:
    """Give money back."""
    note(f"refund {amount} {ctx.key}")
    if heard("world") == "reset":
        raise ConnectionResetError(104, "Connection reset by peer")
    return f"refunded {amount}"


@tool(effect="external", idempotency="key", policy=by_amount)
def refund_keyed(ctx: ToolContext, amount: int) -> str:
    """Give money back, once per key."""
    note(f"refund {amount} {ctx.key}")
    if heard("world") == "refuse":
        raise ConnectionRefusedError(111, "Connection refused")
    return f"refunded {amount}"


@tool(effect="read", policy=[confirm_if(always, name="always", reason="Always.")])
def open_file(name: str) -> str:
    """Look into what not everybody may see."""
    note(f"open {name}")
    return f"contents of {name}"


@tool(effect="read")
def glance(at: str) -> str:
    """Look at what everybody may see."""
    note(f"glance {at}")
    return at


@tool(effect="external", idempotency="none", policy=by_amount)
def pay_out(ctx: ToolContext, amount: int) -> dict[str, Any]:
    """Give money back, as a step of a pipeline."""
    note(f"pay_out {json.dumps(amount)} {ctx.key}")
    return {"paid": amount}


@tool(effect="external", idempotency="key", unapproved="approve", policy=by_amount)
def pay_keyed(ctx: ToolContext, amount: int) -> dict[str, Any]:
    """Give money back once per key, as a step of a pipeline; silence is a yes."""
    note(f"pay_out {json.dumps(amount)} {ctx.key}")
    if heard("world") == "refuse":
        raise ConnectionRefusedError(111, "Connection refused")
    return {"paid": amount}


@tool(
    effect="external",
    idempotency="key",
    policy=[confirm_if(always, name="always", reason="Always.")],
)
def pay_input(ctx: ToolContext, asked: dict[str, int]) -> dict[str, Any]:
    """Give back what the job's own input says, if anybody is there."""
    note(f"pay_out {json.dumps(asked)} {ctx.key}")
    raise ConnectionRefusedError(111, "Connection refused")


def price(value: dict[str, Any]) -> int:
    return int(value["amount"])


def receipt(value: dict[str, Any]) -> dict[str, Any]:
    return {"receipt": value}


clerk = Agent(
    name="clerk",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=(refund, refund_keyed, open_file, glance),
    input_type=Script,
)
refunding = Pipeline(name="refunding", steps=[price, pay_out, receipt])

"""What the programs of a world do: plain steps that fold a value, and effects that leave a trace.

What an effect has done is in the ledger, with its result: a person who is asked whether a call
happened looks there.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import aiosmtplib
from pydantic import BaseModel

from jobs import StepContext, ToolContext, always, confirm_if, tool
from tests.faults.ledger import note_effect
from tests.faults.points import Point, stand

MAIL_S_MAX = 20.0

Value = dict[str, Any]


class Task(BaseModel):
    """What every program is asked: who it is, and how long its slow step takes."""

    token: str
    nap_ms: float = 0.0


def affect(ctx: ToolContext, name: str, idempotency: str, result: Any, args: Any = None) -> Any:
    """Do something to the world: two lines in the ledger, with the points around them.

    `args` are those of a call that needs a yes.
    """

    def note(phase: Any) -> None:
        note_effect(
            Path(os.environ["FAULTS_FOLDER"]) / "ledger",
            phase,
            key=ctx.key,
            job_id=ctx.job_id,
            seq=ctx.seq,
            tenant_id=ctx.tenant_id,
            tool=name,
            idempotency=idempotency,
            what=result,
            args=args,
        )

    stand(Point.BEFORE_EFFECT, ctx.job_id, ctx.seq)
    note("begin")
    note("end")
    stand(Point.AFTER_EFFECT, ctx.job_id, ctx.seq)
    return result


def save(ctx: ToolContext, name: str, data: str) -> None:
    """Keep an artifact, with the points around it."""
    stand(Point.BEFORE_EFFECT, ctx.job_id, ctx.seq)
    ctx.artifacts.save(name, "text/plain", data.encode())
    stand(Point.AFTER_EFFECT, ctx.job_id, ctx.seq)


# --- steps of pipelines ---------------------------------------------------------------------------


def fold(value: Value, name: str) -> Value:
    """The next value of a chain: how far it is, and a sum over everything that was done."""
    told = f"{value.get('sum', value['token'])}:{name}"
    return {
        "token": value["token"],
        "n": value.get("n", 0) + 1,
        "sum": hashlib.sha256(told.encode()).hexdigest()[:16],
    }


def begin(value: Value) -> Value:
    return fold(value, "begin")


def gather(value: Value) -> Value:
    return fold(value, "gather")


def sort(value: Value) -> Value:
    return fold(value, "sort")


def nap(ctx: StepContext, value: Value) -> Value:
    time.sleep(ctx.input.nap_ms / 1000)
    return fold(value, "nap")


def weigh(value: Value) -> Value:
    return fold(value, "weigh")


def polish(value: Value) -> Value:
    return fold(value, "polish")


def finish(value: Value) -> Value:
    return fold(value, "finish")


@tool(effect="external", idempotency="key", policy=[])
def post_note(ctx: ToolContext, value: Value) -> Value:
    """Do something that is done once per key."""
    return dict(affect(ctx, "post_note", "key", fold(value, "post_note")))


@tool(effect="external", idempotency="none", policy=[])
def book(ctx: ToolContext, value: Value) -> Value:
    """Do something that must not happen twice."""
    return dict(affect(ctx, "book", "none", fold(value, "book")))


@tool(effect="write", idempotency="key", policy=[])
def keep(ctx: ToolContext, value: Value) -> Value:
    """Keep the sum so far as an artifact."""
    kept = fold(value, "keep")
    save(ctx, "kept.txt", kept["sum"])
    return kept


# --- calls of agents ------------------------------------------------------------------------------


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    return f"saw {what}"


@tool(effect="external", idempotency="key", policy=[])
def post(ctx: ToolContext, what: str) -> str:
    """Do something that is done once per key."""
    return str(affect(ctx, "post", "key", f"posted {what}"))


@tool(effect="external", idempotency="none", policy=[])
def charge(ctx: ToolContext, what: str) -> str:
    """Take money, which nobody wants to happen twice."""
    return str(affect(ctx, "charge", "none", f"charged {what}"))


@tool(
    effect="external",
    idempotency="none",
    policy=[confirm_if(always, name="buy", reason="Money leaves the house.")],
)
def buy(ctx: ToolContext, what: str) -> str:
    """Buy something, which nobody wants to happen twice, or without a yes."""
    return str(affect(ctx, "buy", "none", f"bought {what}", args={"what": what}))


@tool(effect="write", idempotency="key", policy=[])
def file(ctx: ToolContext, what: str) -> str:
    """Keep a text under a name."""
    save(ctx, "filed.txt", what)
    return f"filed {what}"


@tool(effect="external", idempotency="key", policy=[])
async def mail_keyed(ctx: ToolContext, what: str) -> str:
    """Send a mail that the other side takes once, by its id."""
    return await send(ctx, "mail_keyed", "key", f"mailed {what}")


@tool(effect="external", idempotency="none", policy=[])
async def mail_once(ctx: ToolContext, what: str) -> str:
    """Send a mail that would arrive twice if it were sent twice."""
    return await send(ctx, "mail_once", "none", f"mailed {what}")


async def send(ctx: ToolContext, name: str, idempotency: str, result: str) -> str:
    """Send a mail; the server writes into the ledger what it has taken."""
    folder = Path(os.environ["FAULTS_FOLDER"])
    effect = f"{ctx.key} {ctx.job_id} {ctx.seq} {ctx.tenant_id} {name} {idempotency}"
    # Written by hand: a library would fold the line that the server has to find.
    await aiosmtplib.send(
        f"Subject: {name}\r\nX-Effect: {effect}\r\n\r\n{result}\r\n".encode(),
        sender="world@example.com",
        recipients=["person@example.com"],
        hostname="127.0.0.1",
        port=int((folder / "smtp-port").read_text()),
        timeout=MAIL_S_MAX,
    )
    return result

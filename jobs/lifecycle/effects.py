"""Effects: what a tool does to the world, begun under the fence, and what to do when nobody knows.

    intent    the planned step, with its arguments
    started   the mark of `begin`, made by the claim that makes the call
    result    the commit

A step that was started and has no result may have happened. A tool that can look is asked. If a
repetition does no harm (`safe`, or `key`, since the key is the same), it runs again. Otherwise a
person is asked: the call is never made a second time without a word, and never skipped without one.

A lookup that finds nothing is believed only when the call is over. A thread that hangs in a call
may make it yet.
"""

from __future__ import annotations

import asyncio
import inspect

import structlog

from jobs.agent.registry import Program
from jobs.agent.tool import Found, Lookup, Tool
from jobs.errors import StepwellError
from jobs.lifecycle.arguments import args_of, find_tool
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Park
from jobs.lifecycle.parking import what_woke
from jobs.lifecycle.results import conclude_with
from jobs.lifecycle.settling import patiently
from jobs.lifecycle.verdicts import describe
from jobs.policy.fingerprints import sha256_of
from store import transitions
from store.states import WaitKind
from store.transitions import Claim, Start, Wait

log = structlog.get_logger(__name__)

LOOKUP_TIMEOUT_S = 30.0
DECISIONS = ("happened", "again", "fail")


class Stopping(StepwellError):
    """The job is to end, so nothing is begun any more."""


class Unapproved(StepwellError):
    """Nobody has said yes to exactly this call, so it was not made."""


class NotBegun(StepwellError):
    """Nobody knows whether this claim still holds, so the call was not made."""


def is_repeatable(held: Claim, program: Program) -> bool:
    """Whether doing the step twice does no harm; a call without any idempotency may have."""
    tool = find_tool(held, program)
    return tool is None or tool.idempotency != "none"


def is_optional(held: Claim, program: Program) -> bool:
    """Whether the job can do without what this step calls."""
    if not program.has_optional:
        return False
    tool = find_tool(held, program)
    return tool is not None and tool.optional


def begin(held: Claim, tool: Tool, house: House) -> None:
    """Mark that the effect begins now, or raise `Stopping`, `Unapproved` or `NotBegun`.

    A read has no effect, and needs no mark, unless it begins under a yes that it has to consume.
    """
    if tool.effect == "read" and held.granted is None:
        return
    started = patiently(house, lambda connection: transitions.start_effect(connection, held))
    if started is None:
        raise NotBegun("The start of the call could not be written, so it was not made.")
    if started is Start.STOP:
        raise Stopping("The job is to end; the call was not made.")
    if started is Start.ASK:
        raise Unapproved("Nobody has said yes to exactly this call; it was not made.")


def is_in_doubt(held: Claim, program: Program) -> bool:
    """Whether an earlier claim began the effect, and nobody has said since what came of it."""
    if held.effect_epoch is None:
        return False
    woken = what_woke(held)
    if woken is not None and woken.kind is WaitKind.RECONCILE:
        return False
    tool = find_tool(held, program)
    return tool is not None and (tool.idempotency == "none" or tool.lookup is not None)


def find_out(
    held: Claim, program: Program, reason: str, house: House, *, is_over: bool = True
) -> Acted | Park | None:
    """What came of a call in doubt: its result, None when it may be made again, or a question.

    `is_over` says that whoever made the call is not at it any more.
    """
    tool = find_tool(held, program)
    if tool is not None and tool.lookup is not None:
        try:
            found = look_up(tool.lookup, held.key, house)
            if found is not None:
                return conclude_with(held, program, found.result, house)
        except Exception as error:  # noqa: BLE001 - whatever it raises, nobody knows
            log.warning("lookup failed", job=str(held.job_id), step=held.seq, name=held.name)
            reason = f"{reason} The lookup failed: {describe(error)}"
        else:
            if is_over:
                return None
            reason = f"{reason} It has not happened yet, but may still be going on."
    if is_repeatable(held, program):
        return None
    return Park(question(held, program, reason))


def look_up(lookup: Lookup, key: str, house: House) -> Found | None:
    """Ask the other side whether a call with this key has happened, for a bounded time."""
    answer = house.loop.run(_look(lookup, key), LOOKUP_TIMEOUT_S)
    if answer is not None and not isinstance(answer, Found):
        raise TypeError(f"it returned {type(answer).__name__}, neither Found nor None")
    return answer


async def _look(lookup: Lookup, key: str) -> Found | None:
    answer = await asyncio.to_thread(lookup, key)
    return await answer if inspect.isawaitable(answer) else answer


def question(held: Claim, program: Program, reason: str) -> Wait:
    """Ask a person what came of the call, showing exactly what was to be done."""
    tool = find_tool(held, program)
    args = args_of(held)
    return Wait(
        WaitKind.RECONCILE,
        held.name,
        prompt={
            "ask": "Did this call happen?",
            "reason": reason,
            "tool": held.name if tool is None else tool.name,
            "args": args,
            "args_sha256": sha256_of(args),
            "key": held.key,
            "decisions": list(DECISIONS),
        },
    )

"""Effects: what a tool does to the world, begun under the fence, and what to do when nobody knows.

    intent    the planned step, with its arguments
    started   the mark of `begin`, made by the claim that makes the call
    result    the commit

A step that was started and has no result may have happened. If a repetition does no harm (`safe`,
or `key`, since the key is the same), it runs again. A tool that can look is asked. Otherwise a
person is: the call is never made a second time without a word, and never skipped without one.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import structlog

from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.agent.tool import Found, Tool
from jobs.errors import StepwellError
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Park
from jobs.lifecycle.results import conclude_with
from jobs.lifecycle.settling import patiently
from jobs.lifecycle.verdicts import describe
from store import transitions
from store.errors import Unreachable
from store.states import StepKind, WaitKind
from store.transitions import Claim, Start, Wait

log = structlog.get_logger(__name__)

LOOKUP_TIMEOUT_S = 30.0
DECISIONS = ("happened", "again", "fail")


class Stopping(StepwellError):
    """The job is to end, so nothing is begun any more."""


def find_tool(held: Claim, program: Program) -> Tool | None:
    """The tool this step calls, if it calls one that exists."""
    if isinstance(program, Pipeline):
        return program.tool_at(held.input["position"])
    if held.kind is StepKind.TOOL and isinstance(program, Agent):
        return program.find_tool(held.input["tool"])
    return None


def is_repeatable(held: Claim, program: Program) -> bool:
    """Whether doing the step twice does no harm; a call without any idempotency may have."""
    tool = find_tool(held, program)
    return tool is None or tool.idempotency != "none"


def begin(held: Claim, tool: Tool, house: House) -> None:
    """Mark that the effect begins now, or raise: `Stopping`, or `Unreachable` when nobody knows
    whether this claim still holds. A read has no effect, and needs no mark."""
    if tool.effect == "read":
        return
    started = patiently(house, lambda connection: transitions.start_effect(connection, held))
    if started is None:
        raise Unreachable("The start of the call could not be written, so it was not made.")
    if started is Start.STOP:
        raise Stopping("The job is to end; the call was not made.")


def is_in_doubt(held: Claim, program: Program) -> bool:
    """Whether an earlier claim began the effect, and nobody has said since what came of it."""
    if held.effect_epoch is None:
        return False
    woken = held.woken
    if woken is not None and woken.kind is WaitKind.RECONCILE:
        return False
    tool = find_tool(held, program)
    return tool is not None and (tool.idempotency == "none" or tool.lookup is not None)


def find_out(held: Claim, program: Program, reason: str, house: House) -> Acted | Park | None:
    """What came of a call in doubt: its result, None when it did not happen, or a question."""
    tool = find_tool(held, program)
    if tool is not None and tool.lookup is not None:
        try:
            found = look_up(tool, held.key, house)
        except Exception as error:  # noqa: BLE001 - whatever it raises, nobody knows
            log.warning("lookup failed", job=str(held.job_id), step=held.seq, name=held.name)
            reason = f"{reason} The lookup failed: {describe(error)}"
        else:
            return None if found is None else conclude_with(held, program, found.result, house)
    if is_repeatable(held, program):
        return None
    return Park(question(held, program, reason))


def look_up(tool: Tool, key: str, house: House) -> Found | None:
    """Ask the other side whether a call with this key has happened."""
    if tool.lookup is None:
        raise TypeError(f"tool {tool.name!r} has no lookup")
    answer = tool.lookup(key)
    if inspect.isawaitable(answer):
        answer = house.loop.run(_awaited(answer), LOOKUP_TIMEOUT_S)
    if answer is not None and not isinstance(answer, Found):
        raise TypeError(f"the lookup of {tool.name!r} returned {type(answer).__name__}")
    return answer


def question(held: Claim, program: Program, reason: str) -> Wait:
    """Ask a person what came of the call, showing exactly what was to be done."""
    tool = find_tool(held, program)
    args = held.parent_output if isinstance(program, Pipeline) else held.input.get("args")
    return Wait(
        WaitKind.RECONCILE,
        held.name,
        prompt={
            "ask": "Did this call happen?",
            "reason": reason,
            "tool": held.name if tool is None else tool.name,
            "args": args,
            "args_sha256": fingerprint(args),
            "key": held.key,
            "decisions": list(DECISIONS),
        },
    )


def fingerprint(args: Any) -> str:
    """The same for the same arguments, in hex."""
    return hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()


async def _awaited(work: Any) -> Any:
    return await work

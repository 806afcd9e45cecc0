"""Arguments: which tool a step calls, and with what: as planned, or as people have changed it."""

from __future__ import annotations

from typing import Any

from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from store.states import ApprovalEnding, StepKind
from store.transitions import Claim


def find_tool(held: Claim, program: Program) -> Tool | None:
    """The tool that acting on this step would call, whatever kind the step says it is."""
    given = held.input or {}
    if isinstance(program, Pipeline):
        return program.tool_at(given["position"]) if "position" in given else None
    return None if held.kind is StepKind.MODEL else program.find_tool(given.get("tool", ""))


def args_of(held: Claim) -> Any:
    """What the call is made with: what people have said yes to, where they were asked.

    In a replay that is what they said yes to in the original, if the call was begun there.
    """
    if held.granted is not None:
        return held.granted.args
    return held.input["args"] if "args" in held.input else _handed_on(held)


def is_edited(held: Claim) -> bool:
    """Whether people have put other arguments in the place of those that were planned."""
    return bool(args_of(held) != _planned(held))


def is_seen(held: Claim, given: Any) -> bool:
    """Whether a person has seen this among the arguments of the call, and said yes to it."""
    granted = held.granted
    if granted is None or granted.ending is ApprovalEnding.EXPIRED:
        return False
    return isinstance(granted.args, dict) and given in granted.args.values()


def _planned(held: Claim) -> Any:
    if "planned_args" in held.input:
        return held.input["planned_args"]
    return _handed_on(held) if "position" in held.input else held.input["args"]


def _handed_on(held: Claim) -> Any:
    """What the step before hands on to a step of a pipeline."""
    return held.job_input if held.input["position"] == 0 else held.parent_output

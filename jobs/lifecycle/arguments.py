"""Arguments: what a call is made with, as it was planned or as people have changed it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from store.states import StepKind
from store.transitions import Claim


def args_of(held: Claim) -> Any:
    """What the call is made with: what people have said yes to, where they were asked."""
    if held.granted is not None:
        return held.granted.args
    if held.kind is StepKind.TOOL:
        return held.input["args"]
    return held.job_input if held.input["position"] == 0 else held.parent_output


def is_edited(held: Claim) -> bool:
    """Whether people have put other arguments in the place of those that were planned."""
    planned = args_of(replace(held, granted=None))
    return bool(args_of(held) != held.input.get("planned_args", planned))

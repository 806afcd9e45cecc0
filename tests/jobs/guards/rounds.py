"""Guards by hand: one verdict, or one round, on a value."""

from __future__ import annotations

from typing import Any

from jobs.guards.guard import Context, Guard, Stage, Verdict
from jobs.guards.round import NOTHING, Round, go_round


def context(**more: Any) -> Context:
    return Context(**{"agent": "test", "input": {}} | more)


def judge(guard: Guard, value: Any, stage: Stage = Stage.TOOL_ARGS, **more: Any) -> Verdict:
    return guard.check(stage, value, context(**more))


def round_of(*guards: Guard, value: Any, stage: Stage = Stage.TOOL_ARGS, **more: Any) -> Round:
    waived = more.pop("waived", NOTHING)
    return go_round(stage, value, guards, context(**more), waived=waived)

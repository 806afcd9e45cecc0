"""Reviews that a guard asks for: what a person is shown, and how the step goes on afterwards.

A step is parked where it stands. A call that was not made yet is made when the person says so. An
answer that a model gave already is kept in the wait, so that it is taken as it was shown: asking
again might bring another one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jobs.guards.guard import Kind, Stage
from jobs.guards.round import Round
from jobs.lifecycle.guard_rounds import loud_rows
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, Park
from jobs.lifecycle.verdicts import ErrorClass, GiveUp
from jobs.lifecycle.verdicts import as_json as error_json
from store.jsonb import keepable
from store.states import WaitKind
from store.transitions import Claim, Usage, Wait, Woken

# What such a wait is called, which tells it from reviews of code that has changed.
NAME = "guard"
DECISIONS = ("continue", "fail")
FOR_REVIEW = frozenset({Kind.CONFIRM, Kind.HALT})
ASKS = {
    Stage.MODEL_REQUEST: "May this job go on, and its model be asked again?",
    Stage.TOOL_ARGS: "May this call be made?",
    Stage.JOB_OUTPUT: "May the job end with this answer?",
    Stage.JOB_POST: "May the job end with this answer?",
}


def ask_review(
    held: Claim,
    found: Round,
    house: House,
    *,
    woken: Woken | None = None,
    kept: dict[str, Any] | None = None,
    **shown: Any,
) -> Park:
    """Park the step until a person has looked.

    `woken` is what the step had been woken by before, `kept` what it has come to already, `shown`
    more of what the person sees.
    """
    prompt = {
        "ask": ASKS.get(found.stage, "May this job go on?"),
        "reason": found.reason,
        "decisions": list(DECISIONS),
        "stage": found.stage,
        "verdict": found.kind,
        "guards": loud_rows(held, house),
    }
    fallback: dict[str, Any] = {}
    if woken is not None:
        fallback["woken"] = asdict(woken)
    if kept is not None:
        fallback["kept"] = kept
    wait = Wait(WaitKind.REVIEW, NAME, prompt=keepable(prompt | shown), fallback=fallback or None)
    return Park(wait)


def is_of_guard(woken: Woken | None) -> bool:
    """Whether the step was woken by what a person said to a guard's review."""
    return woken is not None and woken.kind is WaitKind.REVIEW and woken.name == NAME


def is_let_go_on(held: Claim) -> bool:
    """Whether a person has said that the step goes on, whatever a guard asks a person about."""
    woken = held.woken
    return woken is not None and is_of_guard(woken) and woken.result["decision"] == "continue"


def keep_answer(acted: Acted, output: Any, stage: Stage) -> dict[str, Any]:
    """A model's answer, as it is kept in the wait, and at which stage it was stopped."""
    usage = None if acted.usage is None else asdict(acted.usage)
    return {"step": acted.output, "output": output, "usage": usage, "stage": stage}


def usage_kept(woken: Woken) -> Usage | None:
    """What a reviewed answer has cost; None where there is none."""
    kept = (woken.fallback or {}).get("kept") or {}
    return Usage(**kept["usage"]) if kept.get("usage") else None


def give_up_for(found: Round, usage: Usage | None = None) -> Broke:
    """The end of the job, for what a guard has blocked; the call may have cost something."""
    return Broke(GiveUp(error_json(ErrorClass.GUARDED, found.reason), ErrorClass.GUARDED), usage)

"""Parking: from what a step says it waits for to a wait, and from what came back to a result.

A woken step is claimed like any other, by any worker: what it waited for comes with the claim. It
is made use of once, by the commit, start or next wait of that claim. A review keeps it: a step that
was woken by something, and is reviewed before it could make use of it, still has it afterwards.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from uuid_utils.compat import uuid7

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.agent.waiting import NOTHING, AskUser, Child, Delegate, Sleep, WaitFor
from jobs.agent.waiting import Wait as Asked
from jobs.lifecycle.arguments import is_seen
from jobs.lifecycle.budgeting import BUDGET_WAIT, caps_of_child
from jobs.lifecycle.consent import heard
from jobs.lifecycle.guard_reviews import is_of_guard, usage_kept
from jobs.lifecycle.guarded_turns import resume_answer
from jobs.lifecycle.house import House
from jobs.lifecycle.intake import check_input, earliest
from jobs.lifecycle.outcomes import Acted, Broke, HandBack, Park
from jobs.lifecycle.results import as_json, conclude_with, tool_failed
from jobs.lifecycle.taint import hands_on
from jobs.lifecycle.verdicts import ErrorClass, GiveUp
from jobs.lifecycle.verdicts import as_json as error_json
from store import workers
from store.states import StepKind, WaitKind, WaitState
from store.transitions import Claim, NewChild, Wait, Woken

REVIEW_DECISIONS = ("continue", "fail")
# Questions whose answer is `{"decision": ...}`.
DECIDED = (WaitKind.RECONCILE, WaitKind.REVIEW)
# How long a step waits for the worker that serves its version, during a deploy.
OTHER_VERSION_WAIT_S = 2.0


# --- parking --------------------------------------------------------------------------------------


def wait_for(asked: Asked, held: Claim, program: Program, house: House) -> Wait:
    """The wait that a step asks for. Raises a `Refused` when a child cannot be made as it is."""
    match asked:
        case Sleep(seconds, until, value):
            return Wait(
                WaitKind.TIMER, "sleep", wake_in_s=seconds, wake_at=until, fallback=_kept(value)
            )
        case WaitFor(signal, expires_s, default):
            return Wait(WaitKind.SIGNAL, signal, wake_in_s=expires_s, fallback=_kept(default))
        case AskUser(question, choices, expires_s, default):
            prompt: dict[str, Any] = {"ask": question}
            if choices:
                prompt["choices"] = list(choices)
            return Wait(
                WaitKind.QUESTION,
                "question",
                prompt=prompt,
                wake_in_s=expires_s,
                fallback=_kept(default),
            )
        case Delegate():
            taints = hands_on(held, program, house)
            children = tuple(
                replace(
                    _bear(each, asked.expires_s, house),
                    input_tainted=_is_tainted(taints, is_seen(held, each.input), program),
                )
                for each in asked.children
            )
            in_order = {"children": [str(child.id) for child in children]}
            return Wait(
                WaitKind.CHILDREN, "children", prompt=in_order, children=children, taints=taints
            )


def _is_tainted(taints: tuple[str, ...], is_seen: bool, program: Program) -> bool | None:
    """Whether a text from outside may have written it; None where the row of the job knows."""
    if is_seen or isinstance(program, Agent):
        return bool(taints) and not is_seen
    return None


def _kept(value: Any) -> dict[str, Any] | None:
    return None if value is NOTHING else {"value": as_json(value)}


def _bear(child: Child, expires_s: float | None, house: House) -> NewChild:
    program = house.registry.find(child.agent)
    # The wait ends when the children do, so it is they who must not take longer.
    return NewChild(
        id=uuid7(),
        agent=program.name,
        agent_version=program.version,
        input=check_input(program, child.input),
        steps=program.first_steps(),
        deadline_in_s=earliest(child.deadline_s, expires_s, program.deadline_s),
        budget=caps_of_child(program),
    )


# --- waking ---------------------------------------------------------------------------------------


def given_up(held: Claim) -> Broke | None:
    """The end of the job when a person has decided so, whatever version is served now."""
    woken = held.woken
    if woken is None or woken.kind not in DECIDED or woken.result["decision"] != "fail":
        return None
    kind = ErrorClass.IN_DOUBT if woken.kind is WaitKind.RECONCILE else ErrorClass.CHANGED
    if woken.kind is WaitKind.REVIEW and woken.name == BUDGET_WAIT:
        kind = ErrorClass.BUDGET
    if is_of_guard(woken):
        kind = ErrorClass.GUARDED
    given_up = GiveUp(error_json(kind, "A person decided to give it up."), kind)
    return Broke(given_up, usage_kept(woken))


def resume(
    held: Claim, woken: Woken, program: Program, house: House
) -> Acted | Broke | Park | None:
    """What the step came to by what it was woken by; None when it is to run now."""
    if woken.kind in DECIDED:
        return _decide(held, woken, program, house)
    if woken.kind is WaitKind.APPROVAL:
        return heard(held, woken, program, house)
    if woken.state is WaitState.EXPIRED or woken.kind is WaitKind.TIMER:
        if woken.fallback is None:
            return _unanswered(woken, program)
        return conclude_with(held, program, woken.fallback["value"], house)
    return conclude_with(held, program, woken.result, house)


def _decide(
    held: Claim, woken: Woken, program: Program, house: House
) -> Acted | Broke | Park | None:
    if woken.result["decision"] == "happened":
        return conclude_with(held, program, woken.result.get("result"), house)
    if is_of_guard(woken) and isinstance(program, Agent):
        answered = resume_answer(held, woken, program, house)
        if answered is not None:
            return answered
    # Again, or continue: with what it had been woken by before it was reviewed, if with anything.
    kept = kept_by(woken)
    return None if kept is None else resume(held, kept, program, house)


def what_woke(held: Claim) -> Woken | None:
    """What the step was woken by, before its review if it was reviewed."""
    woken = held.woken
    return kept_by(woken) if woken is not None and woken.kind is WaitKind.REVIEW else woken


def kept_by(review: Woken) -> Woken | None:
    """What the step had been woken by when it was parked for this review."""
    if review.fallback is None or "woken" not in review.fallback:
        return None
    told = review.fallback["woken"]
    return Woken(**told | {"kind": WaitKind(told["kind"]), "state": WaitState(told["state"])})


def _unanswered(woken: Woken, program: Program) -> Acted | Broke:
    message = f"Nothing came in time for the {woken.kind.value} {woken.name!r}."
    if isinstance(program, Agent):
        return tool_failed(program, message)
    kind = ErrorClass.UNANSWERED
    return Broke(GiveUp(error_json(kind, message), kind))


# --- code that has changed ------------------------------------------------------------------------


def review_version(held: Claim, program: Program, house: House) -> Park | HandBack | None:
    """What to do with a job that pins another version of its agent; None when this one will do."""
    if program.goes_on_with(held.agent_version):
        return None
    with house.doors.as_nobody() as tx:
        is_served = workers.is_served(tx, held.agent, held.agent_version)
    if is_served:
        why = f"version {held.agent_version} of {held.agent} is served elsewhere"
        return HandBack(OTHER_VERSION_WAIT_S, "agent_changed", why)
    reason = (
        f"The job was begun with version {held.agent_version} of {held.agent!r}, "
        f"and only version {program.version} is served."
    )
    return Park(review(held, reason, version=program.version))


def is_gone(held: Claim, program: Program) -> bool:
    """Whether the step was planned by code that had it, and this code has not."""
    if held.woken is not None and held.woken.kind is WaitKind.REVIEW:
        return False
    if isinstance(program, Agent):
        # A name that the model made up was never there; the model is told so.
        is_known = held.kind is StepKind.MODEL or held.name == "tool.unknown"
        return not (is_known or program.find_tool(held.input.get("tool", "")))
    if held.kind is not StepKind.FUNCTION:
        return True
    return program.name_at(held.input["position"]) != held.name


def review_gone(held: Claim) -> Park:
    """Ask a person about a step whose code is no longer there."""
    reason = f"The step {held.name!r} is no longer there in {held.agent!r}."
    if held.effect_epoch is not None:
        reason += " It was begun, and nobody knows what came of it."
    return Park(review(held, reason))


def review(held: Claim, reason: str, version: str | None = None) -> Wait:
    """Ask a person whether the job may go on with the code as it is now."""
    prompt = {
        "ask": "May this job go on with the code as it is now?",
        "reason": reason,
        "decisions": list(REVIEW_DECISIONS),
    }
    if version is not None:
        prompt["version"] = version
    woken = what_woke(held)
    return Wait(
        WaitKind.REVIEW,
        "agent_changed" if version else "step_gone",
        prompt=prompt,
        fallback=None if woken is None else {"woken": asdict(woken)},
    )

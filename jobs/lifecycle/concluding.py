"""Concluding: a step is settled by its outcome, and what follows is rung for or rides along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import structlog

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.lifecycle.act import may_ride
from jobs.lifecycle.arguments import find_tool
from jobs.lifecycle.gateway import blame
from jobs.lifecycle.guard_rounds import note, take_along
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, HandBack, Outcome, Park
from jobs.lifecycle.results import tool_failed
from jobs.lifecycle.settling import (
    hand_back,
    next_claim,
    park,
    ring_again,
    ring_for,
    settle,
    try_again,
)
from jobs.lifecycle.taint import mark_outside, tell_taint
from jobs.lifecycle.verdicts import Decided, ErrorClass, GiveUp, Retry, TellModel, as_json
from store.states import JobStatus, StepState
from store.transitions import Claim, Ending, Parked, Plan, Settlement, Usage, Wait

log = structlog.get_logger(__name__)


def conclude(
    held: Claim, program: Program, outcome: Outcome, took_ms: float, spent_ms: float, house: House
) -> Claim | None:
    """Settle the step by its outcome; ring for what follows, or return it when it rides along."""
    event: dict[str, Any] = {"seq": held.seq, "name": held.name, "ms": round(took_ms, 1)}
    event |= take_along(held, house)
    match outcome:
        case Acted():
            return conclude_acted(held, program, outcome, event, spent_ms, house)
        case Park(wait):
            said = event.get("guards", [])
            refusal = conclude_parked(held, program, replace(wait, guards=said), house)
            if refusal is not None:
                note(held, house, said)
                return conclude(held, program, refusal, took_ms, spent_ms, house)
        case HandBack(delay_s, reason, why, kept, is_undone):
            hand_back(held, house, delay_s, reason, why, note=kept, is_undone=is_undone)
        case Broke(verdict, usage):
            told = conclude_broken(held, program, verdict, event, house, usage)
            if told is not None:
                return conclude_acted(held, program, told, event, spent_ms, house)
        case _:
            assert_never(outcome)
    return None


def conclude_acted(
    held: Claim,
    program: Program,
    outcome: Acted,
    event: dict[str, Any],
    spent_ms: float,
    house: House,
) -> Claim | None:
    """Commit the step with what follows; the next one when it rides along."""
    rides = rides_along(outcome.plan, program, spent_ms, house)
    outcome = mark_outside(program, find_tool(held, program), outcome)
    event = event | {"outcome": outcome.outcome} | tell_taint(outcome)
    if outcome.refused is not None:
        event["refused"] = outcome.refused
    if outcome.left_out is not None:
        event["degraded"] = {"seq": held.seq, "name": held.name, "why": outcome.left_out}
    settlement = Settlement(
        StepState.COMMITTED,
        event,
        output=outcome.output,
        usage=outcome.usage,
        plan=outcome.plan,
        is_joining=outcome.is_joining,
        is_inline=rides,
        ending=outcome.ending,
    )
    settled = settle(held, settlement, house)
    if settled is None or settled.planned == 0:
        return None
    if rides:
        return next_claim(held, outcome, settled)
    ring_for(held, outcome.plan, settled, house)
    return None


def conclude_parked(held: Claim, program: Program, wait: Wait, house: House) -> Outcome | None:
    """Park the step; what to conclude instead when its children are too deep or too many."""
    match park(held, wait, house):
        case Parked.WOKEN:
            ring_again(held, house)
        case Parked.REFUSED:
            message = "The jobs it asks for would be too deep in their line, or too many."
            if isinstance(program, Agent):
                return tool_failed(program, message)
            return Broke(GiveUp(as_json(ErrorClass.LIMIT, message), ErrorClass.LIMIT))
        case None:
            log.info("claim was taken over", job=str(held.job_id), step=held.seq)
    return None


def conclude_broken(
    held: Claim,
    program: Program,
    verdict: Decided,
    event: dict[str, Any],
    house: House,
    usage: Usage | None = None,
) -> Acted | None:
    """Try again later, or end the job; a failed call that the model is told of is a done step."""
    match verdict:
        case Retry(delay_s, error):
            try_again(held, house, delay_s, error)
        case GiveUp(error, reason):
            error = blame(error, reason, held, program, house)
            give_up(held, error, reason, event, house, usage)
        case TellModel(message):
            # Only an agent's tool is ever told of, and an agent's tool step joins its siblings.
            return tool_failed(program, message)  # type: ignore[arg-type]
        case _:
            assert_never(verdict)
    return None


def give_up(
    held: Claim,
    error: dict[str, Any],
    reason: ErrorClass,
    event: dict[str, Any],
    house: House,
    usage: Usage | None = None,
) -> None:
    """End the job here; what it has done so far is kept."""
    ending = Ending(JobStatus.FAILED, error=error, reason=reason.value)
    told = event | {"error": error}
    settlement = Settlement(StepState.FAILED, told, error=error, usage=usage, ending=ending)
    settle(held, settlement, house)


def rides_along(plan: tuple[Plan, ...], program: Program, spent_ms: float, house: House) -> bool:
    """Whether the only next step goes on in this Celery task."""
    if len(plan) != 1 or plan[0].approval is not None or not house.may_claim.is_set():
        return False
    (only,) = plan
    return (
        only.work is house.work
        and house.pace.has_time_for(only.name, spent_ms)
        and may_ride(only, program)
    )

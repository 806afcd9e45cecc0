"""One delivery of the doorbell: claim, act, judge, settle, and on to the next while it is quick.

A message says which step may be ready; the claim decides. Whoever holds the claim runs the step and
settles it in one fenced statement that also plans what follows, or parks it. A settle that finds
the claim taken over writes nothing, and the attempt ends there: somebody else is at it.

When exactly one step follows, is usually quick, and the quantum lasts, it is claimed by the same
statement and run here. Otherwise the bell is rung for it.

A claim without an answer is dropped, as the bell rings again; a result is held on to (settling.py).
A call that may have happened already is never made again without a word (effects.py). What calls
something outside goes through the gate of that, which may send it back (gateway.py). What is
optional is left out when it fails, when it would have to wait, or when there is too much to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from uuid import UUID

import structlog

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.errors import UnknownAgent
from jobs.lifecycle.act import LimitReached, act, timeout_of
from jobs.lifecycle.approvals import approved, ask_anew, gate
from jobs.lifecycle.arguments import find_tool
from jobs.lifecycle.concluding import conclude, give_up
from jobs.lifecycle.effects import (
    Stopping,
    Unapproved,
    find_out,
    is_in_doubt,
    is_optional,
    is_repeatable,
)
from jobs.lifecycle.gateway import (
    DEADLINE_SLACK_S,
    WAITING,
    Shut,
    come_back,
    dependency_of,
    is_parked_on_limit,
    leave_overdue,
    park_limited,
    through,
    within_budget,
)
from jobs.lifecycle.guard_rounds import noting
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, HandBack, Outcome, Park
from jobs.lifecycle.parking import given_up, is_gone, resume, review_gone, review_version
from jobs.lifecycle.refusals import NotAvailable, refuse_call, turn_down
from jobs.lifecycle.results import left_out
from jobs.lifecycle.settling import (
    hand_back,
)
from jobs.lifecycle.spending import OverBudget, UnknownPrice, at_cap
from jobs.lifecycle.stopping import Stopped, stoppably
from jobs.lifecycle.verdicts import (
    Doubt,
    ErrorClass,
    GiveUp,
    TellModel,
    Verdict,
    as_json,
    classify,
    judge,
)
from jobs.lifecycle.watch import Running
from store import transitions
from store.errors import Busy, Unreachable
from store.transitions import Claim

log = structlog.get_logger(__name__)

# How long a step of an agent that is not known here waits before somebody else is asked.
UNKNOWN_AGENT_WAIT_S = 15.0
# How long a step waits that could not be looked into because Postgres was away.
UNREACHABLE_WAIT_S = 2.0
# After so many workers were lost with a step, it is the step.
LOSSES_MAX = 5


def attempt(tenant_id: UUID, job_id: UUID, seq: int, house: House, name: str = "") -> None:
    """Answer one ring: run the step if it is to be had, and what follows while it is quick.

    `name` is what the message says the step is called; it only decides what people are told.
    """
    began = perf_counter()
    with house.watch.attempting():
        held = claim(tenant_id, job_id, seq, house, is_told=not house.pace.is_quick(name))
        while held is not None:
            held = run_or_give_up(held, house, began)


def claim(
    tenant_id: UUID, job_id: UUID, seq: int, house: House, *, is_told: bool = True
) -> Claim | None:
    """The right to run the step, or None: not ready, not ours, not now."""
    if not house.may_claim.is_set():
        return None
    try:
        with house.doors.hot() as connection:
            return transitions.claim(
                connection, tenant_id, job_id, seq, house.worker_id, is_told=is_told
            )
    except Busy:
        return None
    except Unreachable as error:
        house.is_doubtful.set()
        log.warning("claim got no answer", job=str(job_id), step=seq, error=str(error))
        return None


def run_or_give_up(held: Claim, house: House, began: float) -> Claim | None:
    """Run the step, and the next one when it rides along is returned."""
    with ending_on_bug(held, house):
        return run(held, house, began)


@contextmanager
def ending_on_bug(held: Claim, house: House) -> Iterator[None]:
    """End the job when the engine itself stumbles over the step, and raise.

    The worker is well and beats on, so a step that it only dropped would never come free.
    """
    try:
        yield
    except Exception as error:
        told = as_json(ErrorClass.BUG, type(error).__name__)
        give_up(held, told, ErrorClass.BUG, {"seq": held.seq, "name": held.name}, house)
        raise


def run(held: Claim, house: House, began: float) -> Claim | None:
    """Run one claimed step and settle it; returns the next one when it rides along."""
    try:
        program = house.registry.find(held.agent)
        held = approved(held, program, house)
    except UnknownAgent as error:
        hand_back(held, house, UNKNOWN_AGENT_WAIT_S, "unknown_agent", str(error))
        return None
    except Unreachable as error:
        hand_back(held, house, UNREACHABLE_WAIT_S, "store_unreachable", str(error))
        return None
    started = perf_counter()
    with house.watch.over(held, timeout_of(held, program, house)) as running, noting(held, house):
        outcome = perform(held, program, house)
        if not house.watch.finish(running):
            return None
        took_ms = (perf_counter() - started) * 1000
        house.pace.note(held.name, took_ms)
        spent_ms = (perf_counter() - began) * 1000
        # Still under the watch: an incarnation is not over while a result of its is on the way.
        return conclude(held, program, outcome, took_ms, spent_ms, house)


def perform(held: Claim, program: Program, house: House) -> Outcome:
    """What the step comes to: by what is known without acting, or else by acting."""
    try:
        outcome = foresee(held, program, house) or try_to_act(held, program, house)
        return spare(outcome, held, program)
    except Unreachable as error:
        # Nothing was tried, so this is no failed try, and a call in doubt stays in doubt.
        return HandBack(UNREACHABLE_WAIT_S, "store_unreachable", str(error))


def foresee(held: Claim, program: Program, house: House) -> Outcome | None:
    """What the step comes to by what it was woken by, or by what is known of its call.

    None when it is to act now. Raises `Unreachable`.
    """
    return (
        given_up(held)
        or review_version(held, program, house)
        or (resume(held, held.woken, program, house) if held.woken else None)
        or (review_gone(held) if is_gone(held, program) else None)
        or (find_out_lost(held, program, house) if is_in_doubt(held, program) else None)
        or refuse_call(held, program)
        or (Broke(poisonous(held.losses)) if held.losses >= LOSSES_MAX else None)
        or gate(held, program, house)
    )


def spare(outcome: Outcome, held: Claim, program: Program) -> Outcome:
    """The outcome; of an optional step that broke or would have to wait, that it is left out."""
    match outcome:
        case Broke(verdict) if is_optional(held, program):
            why = verdict.message if isinstance(verdict, TellModel) else verdict.error["message"]
            return left_out(held, program, why)
        case HandBack(_, reason, why) if reason == WAITING and is_optional(held, program):
            return left_out(held, program, why)
        case _:
            return outcome


def find_out_lost(held: Claim, program: Program, house: House) -> Acted | Park | None:
    """What came of a call that an earlier claim began, and nobody has told of since."""
    return find_out(held, program, "It was begun, and what came of it was never recorded.", house)


def try_to_act(held: Claim, program: Program, house: House) -> Outcome:
    """Act; whatever is raised is turned into a verdict."""
    began = perf_counter()
    try:
        return act_or_leave_out(held, program, house)
    except Shut as shut:
        if is_optional(held, program):
            house.gates.step_out(shut.refused)
        return come_back(shut, held)
    except Stopped as stopped:
        return HandBack(0.0, "queued", str(stopped))
    except LimitReached as error:
        return Broke(GiveUp(as_json(ErrorClass.LIMIT, error), ErrorClass.LIMIT))
    except (OverBudget, UnknownPrice) as error:
        return at_cap(error, held, program)
    except Stopping as error:
        return HandBack(0.0, "stopping", str(error))
    except Unapproved:
        return ask_anew(held, program, house)
    except NotAvailable as error:
        return turn_down(program, str(error))
    except BaseException as error:  # noqa: BLE001 - a tool may also call sys.exit()
        return conclude_raised(error, held, program, house, perf_counter() - began)


def act_or_leave_out(held: Claim, program: Program, house: House) -> Outcome:
    """Act, through the gate of what is called outside of here."""
    if is_optional(held, program) and house.level(held.tenant_id) > 0:
        return left_out(held, program, "There is more to do than the platform can.")
    dependency = dependency_of(held, program, house)
    if dependency is None:
        return stoppably(act, held, program, house)
    timeout_s = timeout_of(held, program, house)
    with through(dependency, held, program, house, timeout_s) as passage:
        return stoppably(act, held, program, house, passage)


def conclude_raised(
    error: BaseException, held: Claim, program: Program, house: House, lasted_s: float
) -> Outcome:
    """What the step comes to after its call raised this."""
    log.warning(
        "step raised",
        job=str(held.job_id),
        step=held.seq,
        name=held.name,
        error=type(error).__name__,
        # Where it was raised only helps with what nobody expected.
        exc_info=classify(error) is ErrorClass.BUG,
    )
    if is_parked_on_limit(error, held, program):
        return park_limited(error, held, program, house)
    if is_too_late(held, lasted_s) and is_repeatable(held, program):
        return HandBack(DEADLINE_SLACK_S, "deadline", "The job's deadline passed meanwhile.")
    return clear_up(judge_error(error, held, program, house), held, program, house)


def is_too_late(held: Claim, lasted_s: float) -> bool:
    """Whether the job's deadline has passed, so that it ends by that, whatever the step came to."""
    left_s = held.deadline_in_s
    return left_s is not None and lasted_s + DEADLINE_SLACK_S >= left_s


def clear_up(
    verdict: Verdict, held: Claim, program: Program, house: House, *, is_over: bool = True
) -> Outcome:
    """A verdict as an outcome; of a call in doubt, what is found out about it."""
    if not isinstance(verdict, Doubt):
        return Broke(verdict)
    found = find_out(held, program, verdict.message, house, is_over=is_over)
    return found or Broke(verdict.otherwise)


def judge_error(error: BaseException, held: Claim, program: Program, house: House) -> Verdict:
    """What to do about this error of this step."""
    verdict = judge(
        error,
        tries=held.attempts,
        is_repeatable=is_repeatable(held, program),
        is_tool=isinstance(program, Agent) and find_tool(held, program) is not None,
        draw=house.draw,
    )
    return within_budget(verdict, error, held, program, house)


def poisonous(losses: int) -> GiveUp:
    """A step that takes its worker down, and would take the next one too."""
    message = f"{losses} workers were lost while they ran this step."
    return GiveUp(as_json(ErrorClass.POISON, message), ErrorClass.POISON)


def give_up_overdue(running: Running, house: House) -> None:
    """Settle a step that overstays, in the place of the thread that hangs in it."""
    held = running.held
    log.warning("step overstays", job=str(held.job_id), step=held.seq, name=held.name)
    with ending_on_bug(held, house):
        program = house.registry.find(held.agent)
        leave_overdue(held, house)
        error = TimeoutError(f"{held.name} took longer than it may.")
        verdict = judge_error(error, held, program, house)
        outcome = spare(clear_up(verdict, held, program, house, is_over=False), held, program)
        took_ms = timeout_of(held, program, house) * 1000
        # Its quantum is long over, so nothing rides along.
        conclude(held, program, outcome, took_ms, float("inf"), house)

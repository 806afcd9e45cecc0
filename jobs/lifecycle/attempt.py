"""One delivery of the doorbell: claim, act, judge, settle, and on to the next while it is quick.

A message says which step may be ready; the claim decides. Whoever holds the claim runs the step and
settles it in one fenced statement that also plans what follows. A settle that finds the claim taken
over writes nothing, and the attempt ends there: somebody else is at it.

When exactly one step follows, is usually quick, and the quantum lasts, it is claimed by the same
statement and run here. Otherwise the bell is rung for it.

Postgres may be away for a moment. A claim without an answer is dropped (the bell rings again);
a result is worth more, so a settle is tried for a while. Both leave the incarnation in doubt about
what it holds, and the heart replaces it (see heart.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, perf_counter, sleep
from typing import Any, TypeVar, assert_never
from uuid import UUID

import structlog

from broker.envelope import Envelope
from jobs.agent.registry import Program
from jobs.errors import UnknownAgent
from jobs.lifecycle.act import (
    Acted,
    LimitReached,
    act,
    find_tool,
    may_ride,
    timeout_of,
    tool_failed,
)
from jobs.lifecycle.house import House
from jobs.lifecycle.verdicts import (
    ErrorClass,
    GiveUp,
    Retry,
    TellModel,
    Verdict,
    as_json,
    classify,
    judge,
)
from jobs.lifecycle.watch import Running
from store import transitions
from store.doors import HotConnection
from store.errors import Busy, Unreachable
from store.states import JobClass, JobStatus, StepKind, StepState
from store.transitions import Claim, Ending, Plan, Settled, Settlement

log = structlog.get_logger(__name__)

T = TypeVar("T")

# How long a step of an agent that is not known here waits before somebody else is asked.
UNKNOWN_AGENT_WAIT_S = 15.0
# After so many workers were lost with a step, it is the step.
LOSSES_MAX = 5


@dataclass(frozen=True, slots=True)
class Broke:
    """The step raised; the verdict says what to do about it."""

    verdict: Verdict


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
    """Run the step; when the engine itself stumbles over it, end the job and raise.

    The worker is well and beats on, so a step that it only dropped would never come free.
    """
    try:
        return run(held, house, began)
    except Exception as error:
        told = as_json(ErrorClass.BUG, type(error).__name__)
        event = {"seq": held.seq, "name": held.name, "error": told}
        ending = Ending(JobStatus.FAILED, error=told, reason=ErrorClass.BUG.value)
        settle(held, Settlement(StepState.FAILED, event, error=told, ending=ending), house)
        raise


def run(held: Claim, house: House, began: float) -> Claim | None:
    """Run one claimed step and settle it; returns the next one when it rides along."""
    try:
        program = house.registry.find(held.agent)
    except UnknownAgent as error:
        hand_back(held, house, UNKNOWN_AGENT_WAIT_S, "unknown_agent", str(error))
        return None
    started = perf_counter()
    with house.watch.over(held, timeout_of(held, program, house)) as running:
        outcome = perform(held, program, house)
        if not house.watch.finish(running):
            return None
        took_ms = (perf_counter() - started) * 1000
        house.pace.note(held.name, took_ms)
        spent_ms = (perf_counter() - began) * 1000
        # Still under the watch: an incarnation is not over while a result of its is on the way.
        return conclude(held, program, outcome, took_ms, spent_ms, house)


def perform(held: Claim, program: Program, house: House) -> Acted | Broke:
    """Act, and turn whatever is raised into a verdict."""
    if held.losses and not is_repeatable(held, program):
        return Broke(in_doubt("The worker that made this call is gone."))
    if held.losses >= LOSSES_MAX:
        return Broke(poisonous(held.losses))
    try:
        return act(held, program, house)
    except LimitReached as error:
        return Broke(GiveUp(as_json(ErrorClass.LIMIT, error), ErrorClass.LIMIT))
    except BaseException as error:  # a tool may also call sys.exit()
        log.warning(
            "step raised",
            job=str(held.job_id),
            step=held.seq,
            name=held.name,
            error=type(error).__name__,
            # Where it was raised only helps with what nobody expected.
            exc_info=classify(error) is ErrorClass.BUG,
        )
        return Broke(judge_error(error, held, program, house))


def judge_error(error: BaseException, held: Claim, program: Program, house: House) -> Verdict:
    """What to do about this error of this step."""
    return judge(
        error,
        tries=held.attempts,
        is_repeatable=is_repeatable(held, program),
        is_tool=find_tool(held, program) is not None,
        draw=house.draw,
    )


def is_repeatable(held: Claim, program: Program) -> bool:
    """Whether doing the step twice does no harm; a call without any idempotency may have."""
    tool = find_tool(held, program)
    return tool is None or tool.idempotency != "none"


def in_doubt(message: str) -> GiveUp:
    """A call that may have happened, and must not happen twice."""
    return GiveUp(as_json(ErrorClass.IN_DOUBT, message), ErrorClass.IN_DOUBT)


def poisonous(losses: int) -> GiveUp:
    """A step that takes its worker down, and would take the next one too."""
    message = f"{losses} workers were lost while they ran this step."
    return GiveUp(as_json(ErrorClass.POISON, message), ErrorClass.POISON)


def conclude(
    held: Claim,
    program: Program,
    outcome: Acted | Broke,
    took_ms: float,
    spent_ms: float,
    house: House,
) -> Claim | None:
    """Settle the step by its outcome; ring for what follows, or return it when it rides along."""
    event: dict[str, Any] = {"seq": held.seq, "name": held.name, "ms": round(took_ms, 1)}
    if isinstance(outcome, Broke):
        match outcome.verdict:
            case Retry(delay_s, error):
                hand_back(held, house, delay_s, "retry_scheduled", error)
                return None
            case TellModel(message):
                # Only an agent's tool is ever told of, and an agent's tool step joins its siblings.
                outcome = tool_failed(program, message)  # type: ignore[arg-type]
            case GiveUp(error, reason):
                ending = Ending(JobStatus.FAILED, error=error, reason=reason.value)
                event["error"] = error
                settle(held, Settlement(StepState.FAILED, event, error=error, ending=ending), house)
                return None
            case _:
                assert_never(outcome.verdict)
    event["outcome"] = outcome.outcome
    rides = rides_along(outcome.plan, program, spent_ms, house)
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


def rides_along(plan: tuple[Plan, ...], program: Program, spent_ms: float, house: House) -> bool:
    """Whether the only next step goes on in this Celery task."""
    if len(plan) != 1 or not house.may_claim.is_set():
        return False
    (only,) = plan
    return (
        only.work is house.work
        and house.pace.has_time_for(only.name, spent_ms)
        and may_ride(only, program)
    )


def settle(held: Claim, settlement: Settlement, house: House) -> Settled | None:
    """Commit, trying again for a while when Postgres is away; None when the claim is not ours."""
    settled = patiently(house, lambda connection: transitions.commit(connection, held, settlement))
    if settled is None:
        log.info("claim was taken over", job=str(held.job_id), step=held.seq, epoch=held.epoch)
    return settled


def hand_back(
    held: Claim, house: House, delay_s: float, reason: str, error: dict[str, Any] | str
) -> None:
    """Make the step ready again after a delay: a failed try when there is an error to show."""
    is_failed_try = isinstance(error, dict)
    if isinstance(error, str):
        log.warning("step handed back", job=str(held.job_id), step=held.seq, reason=error)
    patiently(
        house,
        lambda connection: transitions.release(
            connection,
            held,
            delay_s=delay_s,
            is_failed_try=is_failed_try,
            reason=reason,
            error=error if isinstance(error, dict) else None,
        ),
    )


def patiently(house: House, write: Callable[[HotConnection], T]) -> T | None:
    """Write, trying again for a bounded time while Postgres is away. The fence makes that safe."""
    give_up_at = monotonic() + house.settings.commit_patience_s
    wait_s = 0.1
    while True:
        try:
            with house.doors.hot() as connection:
                return write(connection)
        except Unreachable as error:
            if not isinstance(error, Busy):
                house.is_doubtful.set()
            if monotonic() + wait_s > give_up_at:
                log.error("a result was not kept", error=str(error))
                return None
            sleep(wait_s)
            wait_s = min(2.0, wait_s * 2)


def next_claim(held: Claim, outcome: Acted, settled: Settled) -> Claim:
    """The claim that the commit took for us, without asking again."""
    (plan,) = outcome.plan
    return replace(
        held,
        seq=settled.first_seq,
        kind=plan.kind,
        name=plan.name,
        work=plan.work,
        input=plan.input,
        epoch=1,
        attempts=0,
        losses=0,
        parent_seq=held.seq,
        parent_output=outcome.output if plan.kind is StepKind.FUNCTION else None,
    )


def ring_for(held: Claim, plan: tuple[Plan, ...], settled: Settled, house: House) -> None:
    """Ring for every step that was planned."""
    house.bell.ring(
        [
            Envelope(
                held.tenant_id,
                held.job_id,
                settled.first_seq + n,
                step.name,
                JobClass(held.job_class),
                step.work,
            )
            for n, step in enumerate(plan[: settled.planned])
        ]
    )


def give_up_overdue(running: Running, house: House) -> None:
    """Settle a step that overstays, in the place of the thread that hangs in it."""
    held = running.held
    program = house.registry.find(held.agent)
    log.warning("step overstays", job=str(held.job_id), step=held.seq, name=held.name)
    error = TimeoutError(f"{held.name} took longer than it may.")
    outcome = Broke(judge_error(error, held, program, house))
    took_ms = timeout_of(held, program, house) * 1000
    # Its quantum is long over, so nothing rides along.
    conclude(held, program, outcome, took_ms, float("inf"), house)

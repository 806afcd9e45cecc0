"""Settling: write what a step came to, once, for as long as it takes; and ring for what follows.

Postgres may be away for a moment. A result is worth more than a claim, so it is tried for a while;
the fence makes trying again safe. Whatever got no answer leaves the incarnation in doubt about what
it holds, and the heart replaces it (see heart.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic, sleep
from typing import Any, TypeVar

import structlog

from broker.envelope import Envelope
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted
from store import transitions
from store.doors import HotConnection
from store.errors import Busy, Unreachable
from store.states import JobClass, StepKind, Work
from store.transitions import Claim, Parked, Plan, Settled, Settlement, Wait

log = structlog.get_logger(__name__)

T = TypeVar("T")


def settle(held: Claim, settlement: Settlement, house: House) -> Settled | None:
    """Commit, and tell a parent that waits for the job's end; None when the claim is not ours."""
    settled = patiently(house, lambda connection: transitions.commit(connection, held, settlement))
    if settled is None:
        log.info("claim was taken over", job=str(held.job_id), step=held.seq, epoch=held.epoch)
    elif settled.job_status.is_ended and held.parent_job_id is not None:
        tell_parent(held, house)
    return settled


def park(held: Claim, wait: Wait, house: House) -> Parked | None:
    """Let go of the step until what it waits for comes; None when the claim is not ours."""
    return patiently(
        house,
        lambda connection: transitions.park(
            connection,
            held,
            wait,
            depth_max=house.settings.depth_max,
            descendants_max=house.settings.descendants_max,
            children_max=house.settings.children_max,
        ),
    )


def hand_back(
    held: Claim,
    house: House,
    delay_s: float,
    reason: str,
    why: str,
    *,
    note: dict[str, Any] | None = None,
    is_undone: bool = False,
) -> None:
    """Make the step ready again after a delay, without costing it a try.

    A note is kept on its row until it is settled; such a step waits, and that is no news.
    """
    tell = log.warning if note is None else log.debug
    tell("step handed back", job=str(held.job_id), step=held.seq, reason=why)
    _release(held, house, delay_s, reason, note, is_undone=is_undone)


def try_again(held: Claim, house: House, delay_s: float, error: dict[str, Any]) -> None:
    """Make the step ready again after a delay, as a try that failed."""
    _release(held, house, delay_s, "retry_scheduled", error, is_failed_try=True)


def _release(
    held: Claim,
    house: House,
    delay_s: float,
    reason: str,
    error: dict[str, Any] | None,
    **how: bool,
) -> None:
    released = patiently(
        house,
        lambda connection: transitions.release(
            connection, held, delay_s=delay_s, reason=reason, error=error, **how
        ),
    )
    if not released:
        log.info("claim was taken over", job=str(held.job_id), step=held.seq, epoch=held.epoch)


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
            # Waits longer each time: a Postgres that comes back should not meet all at once.
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
        effect_key=None,
        effect_epoch=None,
        woken=None,
        granted=None,
        note=None,
    )


def ring_for(held: Claim, plan: Sequence[Plan], settled: Settled, house: House) -> None:
    """Ring for every step that was planned."""
    job_class = JobClass(held.job_class)
    house.bell.ring(
        [
            Envelope(
                held.tenant_id, held.job_id, settled.first_seq + n, step.name, job_class, step.work
            )
            for n, step in enumerate(plan[: settled.planned])
            if step.approval is None
        ]
    )


def ring_again(held: Claim, house: House) -> None:
    """Ring for the step itself, which is ready again."""
    job_class = JobClass(held.job_class)
    house.bell.ring(
        [Envelope(held.tenant_id, held.job_id, held.seq, held.name, job_class, held.work)]
    )


def tell_parent(held: Claim, house: House) -> None:
    """Tell the parent that this job is over; the scheduler does it when this is cut short."""
    try:
        with house.doors.hot() as connection:
            woken = transitions.tell_parent(connection, held.tenant_id, held.job_id)
    except Unreachable:
        return
    if woken is not None:
        job_id, seq, name, job_class, work = woken
        house.bell.ring(
            [Envelope(held.tenant_id, job_id, seq, name, JobClass(job_class), Work(work))]
        )

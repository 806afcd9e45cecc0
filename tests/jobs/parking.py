"""Jobs that wait, and jobs that died, brought about by hand through the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from store import transitions
from store.states import JobStatus, StepKind, StepState, WaitKind, Work
from store.transitions import Claim, Ending, NewChild, Parked, Plan, Wait
from tests.jobs.serving import Served

QUESTION = Wait(
    WaitKind.QUESTION, "question", prompt={"ask": "Which one?", "choices": ["left", "right"]}
)
FREE = Wait(WaitKind.QUESTION, "question", prompt={"ask": "What shall it be called?"})
RECONCILE = Wait(
    WaitKind.RECONCILE,
    "tool.refund",
    prompt={
        "ask": "Did this call happen?",
        "reason": "The worker was lost in the middle of it.",
        "tool": "refund",
        "args": {"order_id": 1042, "amount_usd": 120.0},
        "key": "the-key",
        "decisions": ["happened", "again", "fail"],
    },
)
REVIEW = Wait(
    WaitKind.REVIEW,
    "agent_changed",
    prompt={
        "ask": "May this job go on with the code as it is now?",
        "reason": "The job was begun with version 1, and only version 2 is served.",
        "decisions": ["continue", "fail"],
        "version": "2",
    },
)
TIMER = Wait(WaitKind.TIMER, "sleep", wake_in_s=7200.0)
SIGNAL = Wait(WaitKind.SIGNAL, "paid", wake_in_s=3600.0)
ERROR = {"class": "not_sent", "message": "no mail server at port 25", "hint": "start one"}
REFUND = Plan(
    StepKind.TOOL,
    "tool.refund",
    Work.WAITS,
    {"tool": "refund", "call_id": "c1", "args": {"order_id": 1042}},
)


def submit(served: Served, agent: str = "echo", **given: Any) -> UUID:
    with served.client as client:
        return UUID(client.submit(agent, given or {"say": "hi"})["id"])


def take(served: Served, job_id: UUID, seq: int = 1) -> Claim:
    hand = served.hand
    return hand.take(job_id, seq, hand.start_worker())


def park(served: Served, held: Claim, wait: Wait) -> Parked | None:
    with served.doors.hot() as connection:
        return transitions.park(connection, held, wait, depth_max=5, descendants_max=100)


def parked(served: Served, wait: Wait = QUESTION) -> UUID:
    """A job whose first step waits."""
    job_id = submit(served)
    assert park(served, take(served, job_id), wait) is Parked.PARKED
    return job_id


def begin_effect(served: Served, held: Claim) -> None:
    with served.doors.hot() as connection:
        transitions.start_effect(connection, held)


def fail(served: Served, held: Claim, error: Mapping[str, Any] = ERROR) -> None:
    """End the job of this step as failed, which leaves a dead letter."""
    error = dict(error)
    served.hand.commit(
        held,
        state=StepState.FAILED,
        error=error,
        ending=Ending(JobStatus.FAILED, error=error, reason=error["class"]),
    )


def died(served: Served, error: Mapping[str, Any] = ERROR) -> UUID:
    """A job that did one step and failed at the second."""
    job_id = submit(served)
    advance(served, job_id, 1)
    fail(served, take(served, job_id, 2), error)
    return job_id


def advance(served: Served, job_id: UUID, seq: int, *plan: Plan, **settled: Any) -> None:
    """Do a step, after which these come; one like the first unless told."""
    following = plan or (Plan(StepKind.FUNCTION, "step.echo.next", Work.WAITS, {"position": 0}),)
    served.hand.commit(
        take(served, job_id, seq), **({"output": {"done": seq}, "plan": following} | settled)
    )


def bear(served: Served, held: Claim, *children: UUID) -> None:
    """Park the step on children."""
    born = tuple(
        NewChild(child, "echo", "1", {"say": "child"}, (Plan(StepKind.FUNCTION, "s", Work.WAITS),))
        for child in children
    )
    assert park(served, held, Wait(WaitKind.CHILDREN, "children", children=born)) is Parked.PARKED

"""The shapes of waiting: what a step waits for, what people answer, what others send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs.web.kept_json import Said
from store.rows import WaitRow
from store.states import QUESTIONS, WaitKind, WaitState

NUMBER_MAX = 2**31 - 1

# A name somebody chose, on one line.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class Decision(StrEnum):
    """What a person decides about a step that cannot go on by itself."""

    HAPPENED = "happened"
    AGAIN = "again"
    FAIL = "fail"
    CONTINUE = "continue"


DECISIONS: Mapping[WaitKind, tuple[Decision, ...]] = {
    WaitKind.RECONCILE: (Decision.HAPPENED, Decision.AGAIN, Decision.FAIL),
    WaitKind.REVIEW: (Decision.CONTINUE, Decision.FAIL),
}


class Wait(BaseModel):
    """What a step waits, or waited, for."""

    object: Literal["wait"] = "wait"
    job_id: UUID
    agent: str
    seq: int = Field(description="the step that waits")
    n: int = Field(description="which of the waits of that step this is; answers name it")
    kind: WaitKind
    name: str
    prompt: dict[str, Any] | None = Field(description="what a person is shown")
    decisions: list[Decision] = Field(
        description="what may be decided; empty where the answer is free, or nobody is asked"
    )
    state: WaitState
    result: Any
    created_at: datetime
    until: datetime | None = Field(description="when it ends at the latest")
    decided_by: str | None
    closed_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: WaitRow, agent: str) -> Wait:
        here = f"/v1/jobs/{row.job_id}"
        links = {"job": here}
        if row.kind in QUESTIONS and row.state is WaitState.PENDING:
            links["answer"] = f"{here}/steps/{row.seq}/answer"
        return cls(
            job_id=row.job_id,
            agent=agent,
            seq=row.seq,
            n=row.n,
            kind=row.kind,
            name=row.name,
            prompt=row.prompt,
            decisions=list(decisions_of(row)),
            state=row.state,
            result=row.result,
            created_at=row.created_at,
            until=row.wake_at,
            decided_by=row.decided_by,
            closed_at=row.closed_at,
            links=links,
        )


def decisions_of(row: WaitRow) -> tuple[Decision, ...]:
    """What may be decided about it: what its kind allows, as far as its prompt offers it."""
    allowed = DECISIONS.get(row.kind, ())
    offered = (row.prompt or {}).get("decisions")
    return tuple(each for each in allowed if each in offered) if offered else allowed


class AnswerRequest(BaseModel):
    """An answer to the question that wait `n` of a step asks.

    A question takes `answer`; anything a person has to decide takes `decision`, and `happened`
    takes the `result` that the call had.
    """

    model_config = ConfigDict(extra="forbid")

    n: int = Field(ge=1, le=NUMBER_MAX, description="the wait that was shown")
    answer: Said = None
    decision: Decision | None = None
    result: Said = None


class SignalRequest(BaseModel):
    """Something from outside for a job."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    data: Said = None
    key: Name | None = Field(default=None, description="the same key again is the same signal")


class Signal(BaseModel):
    """What became of a signal."""

    object: Literal["signal"] = "signal"
    job_id: UUID
    name: str
    key: str | None
    status: Literal["accepted", "duplicate"]

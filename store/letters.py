"""Dead letters: jobs that were given up, for people to look at, discard, or replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, case, func, literal, select, text, tuple_, update
from uuid_utils.compat import uuid7

from store.errors import NotFound
from store.rows import LetterRow
from store.schema import dead_letters
from store.states import JobClass, LetterState

_OF_THIS_TENANT = dead_letters.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")


class Replayed(StrEnum):
    """What became of a replay."""

    MADE = "made"
    BUSY = "busy"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: all that fit every field given."""

    state: LetterState | None = None
    agent: str | None = None
    error_class: str | None = None
    fingerprint: str | None = None
    dependency: str | None = None

    def conditions(self) -> list[Any]:
        given = {
            dead_letters.c.state: self.state,
            dead_letters.c.agent: self.agent,
            dead_letters.c["class"]: self.error_class,
            dead_letters.c.fingerprint: self.fingerprint,
            dead_letters.c.dependency: self.dependency,
        }
        return [_OF_THIS_TENANT] + [c == value for c, value in given.items() if value is not None]


def list_newest(
    tx: Connection, wanted: LetterFilter, *, limit: int = 50, before: UUID | None = None
) -> list[LetterRow]:
    """Dead letters, newest first; `before` is the job of the last one of the page above."""
    query = select(dead_letters).where(*wanted.conditions())
    if before is not None:
        last = read(tx, before)
        query = query.where(
            tuple_(dead_letters.c.created_at, dead_letters.c.job_id)
            < tuple_(literal(last.created_at), literal(last.job_id))
        )
    query = query.order_by(dead_letters.c.created_at.desc(), dead_letters.c.job_id.desc())
    return [_letter(row) for row in tx.execute(query.limit(limit))]


def read(tx: Connection, job_id: UUID) -> LetterRow:
    """The dead letter of a job; raises `NotFound`."""
    row = tx.execute(
        select(dead_letters).where(_OF_THIS_TENANT, dead_letters.c.job_id == job_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no dead letter of a job {job_id}.")
    return _letter(row)


def discard(tx: Connection, job_id: UUID, *, by: str) -> LetterRow:
    """Close the letter: nobody will replay it. One that is closed stays as it was closed."""
    tx.execute(
        update(dead_letters)
        .where(
            _OF_THIS_TENANT,
            dead_letters.c.job_id == job_id,
            dead_letters.c.state.in_([LetterState.OPEN.value, LetterState.REPLAYING.value]),
        )
        .values(
            state=LetterState.DISCARDED.value, replay_at=None, decided_by=by, decided_at=func.now()
        )
    )
    return read(tx, job_id)


def replay(
    tx: Connection,
    tenant_id: UUID,
    job_id: UUID,
    *,
    version: str | None,
    job_class: JobClass | None = None,
    by: str,
) -> tuple[Replayed, UUID]:
    """Make a job of the letter that goes on from the failed step; returns that job's id.

    `version` is the agent's as it is served now. Raises `NotFound`.
    """
    new_id = uuid7()
    found = tx.execute(
        text("select stepwell.replay_letter(:tenant, :job, :new, :version, :class, :by)"),
        {
            "tenant": tenant_id,
            "job": job_id,
            "new": new_id,
            "version": version,
            "class": None if job_class is None else job_class.value,
            "by": by,
        },
    ).scalar_one()
    if found == "missing":
        raise NotFound(f"There is no dead letter of a job {job_id}.")
    return Replayed(found), new_id


def plan_replays(
    tx: Connection,
    wanted: LetterFilter,
    *,
    versions: Mapping[str, str],
    per_s: float,
    by: str,
    limit: int,
) -> int:
    """Line up the open letters of these agents for replay, `per_s` of them each second.

    The scheduler makes the jobs, as background work, when their time comes. Returns how many were
    lined up, at most `limit`; oldest first.
    """
    if not versions:
        return 0
    chosen = (
        select(
            dead_letters.c.job_id,
            (func.row_number().over(order_by=dead_letters.c.created_at) - 1).label("place"),
        )
        .where(
            *wanted.conditions(),
            dead_letters.c.state == LetterState.OPEN.value,
            dead_letters.c.agent.in_(list(versions)),
        )
        .order_by(dead_letters.c.created_at)
        .limit(limit)
        .subquery()
    )
    return tx.execute(
        update(dead_letters)
        .where(
            _OF_THIS_TENANT,
            dead_letters.c.job_id == chosen.c.job_id,
            dead_letters.c.state == LetterState.OPEN.value,
        )
        .values(
            state=LetterState.REPLAYING.value,
            replay_at=func.now()
            + func.make_interval(0, 0, 0, 0, 0, 0, chosen.c.place / literal(per_s)),
            replay_version=case(dict(versions), value=dead_letters.c.agent),
            decided_by=by,
            decided_at=func.now(),
        )
    ).rowcount


def _letter(row: Row[Any]) -> LetterRow:
    told = dict(row._mapping)
    told["error_class"] = told.pop("class")
    told["state"] = LetterState(told["state"])
    for unseen in ("tenant_id", "replay_version"):
        del told[unseen]
    return LetterRow(**told)

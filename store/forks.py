"""Forks: a new job that shares what another one has done, and goes on from a step of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from uuid_utils.compat import uuid7

from store.errors import NotFound
from store.states import JobClass


class Forked(StrEnum):
    """What became of a fork."""

    MADE = "made"
    REFUSED = "refused"


def fork(
    tx: Connection,
    tenant_id: UUID,
    job_id: UUID,
    *,
    from_seq: int,
    version: str | None,
    input: dict[str, Any] | None = None,  # noqa: A002 - the name of the column
    job_class: JobClass | None = None,
) -> tuple[Forked, UUID]:
    """A job that shares the committed steps below `from_seq`; returns its id. Raises `NotFound`.

    Refused when there is no such step, or one below it was not committed.
    """
    new_id = uuid7()
    statement = text(
        "select stepwell.fork_job(:tenant, :job, :new, :from, :version, :input, :class)"
    ).bindparams(bindparam("input", type_=JSONB(none_as_null=True)))
    found = tx.execute(
        statement,
        {
            "tenant": tenant_id,
            "job": job_id,
            "new": new_id,
            "from": from_seq,
            "version": version,
            "input": input,
            "class": None if job_class is None else job_class.value,
        },
    ).scalar_one()
    if found == "missing":
        raise NotFound(f"There is no job {job_id}.")
    return Forked(found), new_id

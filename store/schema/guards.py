"""What guards said: each verdict with the step it was given in; plain allows are counted."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.ground import metadata, moment, word
from store.states import GuardStage, GuardVerdict

guard_verdicts = Table(
    "guard_verdicts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    # The step; 0 for what was said before the job existed.
    Column("seq", Integer, nullable=False),
    # The claim it was said under, and its place among what was said under that.
    Column("epoch", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("stage", word("guard_stage", GuardStage), nullable=False),
    # Which guard; `*` where the allows of all of them are counted.
    Column("guard", Text, nullable=False),
    Column("verdict", word("guard_verdict", GuardVerdict), nullable=False),
    Column("count", Integer, nullable=False, server_default=text("1")),
    Column("reason", Text, nullable=False, server_default=text("''")),
    # What it rests on, such as kinds and counts; never the thing that was found.
    Column("found", JSONB),
    moment("at", default=True),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq", "epoch", "n"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint("count = 1 or verdict = 'allow'", name="only_allows_are_counted"),
)

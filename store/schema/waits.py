"""What parked steps wait for, what was sent to jobs, and the letters of those that died."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.ground import metadata, moment, one_of, word
from store.states import QUESTIONS, LetterState, WaitKind, WaitState

# What a parked step waits for. It holds nothing meanwhile: no slot, lease, connection or thread.
waits = Table(
    "waits",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    # Counts the waits of the step from 1.
    Column("n", Integer, nullable=False),
    Column("kind", word("wait_kind", WaitKind), nullable=False),
    # The name of the signal, or of the question's occasion.
    Column("name", Text, nullable=False),
    # What a person is shown.
    Column("prompt", JSONB),
    Column("state", word("wait_state", WaitState), nullable=False),
    Column("result", JSONB),
    # What it comes to when nobody answers in time: {"value": ...}, or null for no default.
    Column("fallback", JSONB),
    moment("created_at", default=True),
    # When a timer fires, or any other wait expires.
    moment("wake_at"),
    Column("decided_by", Text),
    moment("closed_at"),
    # When, and under which claim, the step made use of the result: once.
    moment("consumed_at"),
    Column("consumed_epoch", Integer),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq", "n"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id", "seq"],
        [
            "stepwell.checkpoints.tenant_id",
            "stepwell.checkpoints.job_id",
            "stepwell.checkpoints.seq",
        ],
        name="waits_step_fkey",
        ondelete="CASCADE",
    ),
    CheckConstraint(
        "(closed_at is not null) = (state <> 'pending')", name="closed_wait_has_its_moment"
    ),
    # no_lost_wake, approval_binds: only what was given can be used, and only once.
    CheckConstraint(
        "consumed_at is null or state in ('fired', 'answered', 'expired')",
        name="only_a_given_answer_is_consumed",
    ),
    Index(
        "one_wait_per_step",
        "tenant_id",
        "job_id",
        "seq",
        unique=True,
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "waits_due",
        "wake_at",
        postgresql_where=text("state = 'pending' and wake_at is not null"),
    ),
    Index(
        "waits_asking",
        "tenant_id",
        "created_at",
        postgresql_where=text(f"state = 'pending' and {one_of('kind', QUESTIONS)}"),
    ),
)

# What somebody outside sent to a job. It may come before, during or after the wait for it.
signals = Table(
    "signals",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # The sender's own: the same key sent again is the same signal.
    Column("key", Text),
    Column("payload", JSONB),
    moment("sent_at", default=True),
    # The one wait that took it.
    Column("consumed_seq", Integer),
    Column("consumed_n", Integer),
    moment("consumed_at"),
    PrimaryKeyConstraint("tenant_id", "job_id", "id"),
    UniqueConstraint("tenant_id", "job_id", "key", name="one_signal_per_key"),
    # no_lost_wake: a wait takes one signal, a signal goes to one wait.
    UniqueConstraint(
        "tenant_id", "job_id", "consumed_seq", "consumed_n", name="one_signal_per_wait"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    Index(
        "signals_unread",
        "tenant_id",
        "job_id",
        "name",
        "sent_at",
        postgresql_where=text("consumed_at is null"),
    ),
)

# A job that was given up, with the reason, for people to look at and replay.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("step_name", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("class", Text, nullable=False),
    # The same for failures that look the same but for numbers and ids.
    Column("fingerprint", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False),
    moment("created_at", default=True),
    Column("state", word("letter_state", LetterState), nullable=False),
    # When its replay is due, by which version of the agent, and the job it became.
    moment("replay_at"),
    Column("replay_version", Text),
    Column("replayed_as", Uuid),
    Column("decided_by", Text),
    moment("decided_at"),
    # What the failing step had called, when that is something outside.
    Column("dependency", Text),
    PrimaryKeyConstraint("tenant_id", "job_id"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint(
        "(state = 'replayed') = (replayed_as is not null)", name="replayed_names_its_job"
    ),
    Index("dead_letters_newest", "tenant_id", "created_at", "job_id"),
    Index(
        "dead_letters_due",
        "replay_at",
        postgresql_where=text("state = 'replaying'"),
    ),
)

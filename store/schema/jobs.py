"""Jobs and their steps, with what they tell and spend."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store.schema.ground import JOB_CLASS, WORK, metadata, moment, one_of, word
from store.states import ENDINGS, JobStatus, Origin, StepKind, StepState

# A job is one durable request of one tenant. It ends in exactly one of four statuses.
jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("agent", Text, nullable=False),
    Column("agent_version", Text, nullable=False),
    Column("model", Text),
    Column("job_class", JOB_CLASS, nullable=False),
    # How it came to be, which never changes (invocation_is_kept): over which door, through which
    # the jobs above it in its line came (the first one first), who asked, and that one's roles.
    Column("origin", word("origin", Origin), nullable=False),
    Column("origins_above", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("requester", Text),
    Column("roles", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("status", word("job_status", JobStatus), nullable=False),
    Column("status_reason", Text),
    moment("status_until"),
    Column("waiting_for", Text),
    # How many steps are planned and not settled; the join waits for the last of them.
    Column("outstanding", Integer, nullable=False),
    Column("steps_done", Integer, nullable=False, server_default=text("0")),
    Column("next_seq", Integer, nullable=False),
    Column("event_seq", Integer, nullable=False, server_default=text("0")),
    moment("cancel_requested_at"),
    moment("created_at", default=True),
    moment("started_at"),
    moment("finished_at"),
    Column("idempotency_key", Text),
    Column("request_sha256", Text),
    Column("input", JSONB, nullable=False),
    Column("output", JSONB),
    Column("error", JSONB),
    # Past it nothing more is begun, and the job ends as expired.
    moment("deadline_at"),
    # Whose step made this job, and the first of that line (itself, when nobody's).
    Column("parent_job_id", Uuid),
    Column("parent_seq", Integer),
    Column("root_id", Uuid, nullable=False),
    Column("depth", Integer, nullable=False, server_default=text("0")),
    Column("children", Integer, nullable=False, server_default=text("0")),
    # Whether the parent has been told that this job is over.
    Column("parent_told", Boolean, nullable=False, server_default=text("false")),
    # The job whose committed steps this one shares, and the first step it runs itself.
    Column("forked_from", Uuid),
    Column("forked_from_seq", Integer),
    # What was left out because it was optional and slow or failing: [{"seq", "name", "why"}].
    Column("degraded", JSONB),
    # Where the texts came from that it has read and nobody here wrote; it hands them down.
    Column("tainted_by", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Whether its input may be such a text: a tainted job has written it, and no person has seen it.
    Column("input_tainted", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "idempotency_key"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    ForeignKeyConstraint(
        ["tenant_id", "parent_job_id"],
        ["stepwell.jobs.tenant_id", "stepwell.jobs.id"],
        name="jobs_parent_fkey",
        ondelete="CASCADE",
    ),
    # one_ending: an ended job has its moment, and only an ended job has one.
    CheckConstraint(
        f"(finished_at is not null) = ({one_of('status', ENDINGS)})", name="one_ending"
    ),
    CheckConstraint("outstanding >= 0", name="outstanding_is_counted"),
    CheckConstraint(
        "(parent_job_id is null) = (depth = 0) and (parent_job_id is null) = (root_id = id)",
        name="child_has_a_parent",
    ),
    Index("jobs_newest", "tenant_id", "created_at", "id"),
    Index(
        "jobs_cancelling",
        "cancel_requested_at",
        postgresql_where=text("cancel_requested_at is not null and finished_at is null"),
    ),
    Index(
        "jobs_expiring",
        "deadline_at",
        postgresql_where=text("deadline_at is not null and finished_at is null"),
    ),
    Index(
        "jobs_of_parent",
        "tenant_id",
        "parent_job_id",
        "parent_seq",
        postgresql_where=text("parent_job_id is not null"),
    ),
    Index(
        "jobs_of_root",
        "tenant_id",
        "root_id",
        postgresql_where=text("parent_job_id is not null"),
    ),
    Index(
        "jobs_untold",
        "finished_at",
        postgresql_where=text(
            "parent_job_id is not null and not parent_told and finished_at is not null"
        ),
    ),
    Index("jobs_finished", "finished_at", postgresql_where=text("finished_at is not null")),
    Index(
        "jobs_forked",
        "tenant_id",
        "forked_from",
        postgresql_where=text("forked_from is not null"),
    ),
    # Every step rewrites its job's row: room on the page keeps that a heap-only update.
    postgresql_with={"fillfactor": "70"},
)

# A checkpoint is the row of a step. Its epoch fences it: only the latest claim may settle it.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    # The step that planned this one; null for the first.
    Column("parent_seq", Integer),
    Column("kind", word("step_kind", StepKind), nullable=False),
    Column("name", Text, nullable=False),
    Column("job_class", JOB_CLASS, nullable=False),
    Column("work", WORK, nullable=False),
    Column("state", word("step_state", StepState), nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    # Tries that ended in a retry verdict, and claims lost with their worker.
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("losses", Integer, nullable=False, server_default=text("0")),
    Column("worker_id", Uuid),
    moment("ready_at", default=True),
    moment("rung_at"),
    moment("claimed_at"),
    moment("committed_at"),
    Column("input", JSONB),
    Column("output", JSONB),
    Column("error", JSONB),
    # How many waits it has had; the last of them is what it waits for, or was woken by.
    Column("waits", Integer, nullable=False, server_default=text("0")),
    # What the world knows its effect by; null means job:seq. A replay keeps the original's.
    Column("effect_key", Text),
    # The claim under which its effect was begun; null: it certainly was not.
    Column("effect_epoch", Integer),
    moment("effect_started_at"),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint(
        "(state = 'running') = (worker_id is not null and committed_at is null)",
        name="running_has_a_worker",
    ),
    CheckConstraint(
        "(committed_at is not null) = (state in ('committed', 'failed', 'cancelled'))",
        name="settled_has_its_moment",
    ),
    # epochs_only_grow: an effect is begun by a claim that was made.
    CheckConstraint("effect_epoch between 1 and epoch", name="effect_was_claimed"),
    # A ready step is in one of these two: rung for, or waiting until it is.
    Index(
        "checkpoints_rung",
        "job_class",
        "work",
        "rung_at",
        postgresql_where=text("state = 'ready' and rung_at is not null"),
    ),
    # In the order of dispatch: what goes on before what is never begun, and tenant by tenant.
    Index(
        "checkpoints_waiting",
        "job_class",
        "work",
        text("((parent_seq is null)::integer)"),
        "tenant_id",
        "ready_at",
        postgresql_where=text("state = 'ready' and rung_at is null"),
    ),
    Index("checkpoints_running", "worker_id", postgresql_where=text("state = 'running'")),
    postgresql_with={"fillfactor": "85"},
)

# The append-only story of a job, numbered without gaps: what people watch, and resume from.
events = Table(
    "events",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("id", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("at", default=True),
    PrimaryKeyConstraint("tenant_id", "job_id", "id"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
)

# What a model step spent, in the provider's own figures. An unknown price is null, never zero.
usage = Table(
    "usage",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Numeric(18, 9)),
    moment("at", default=True),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
)

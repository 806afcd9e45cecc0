"""The database as it is, table by table, with its laws.

Every table that has a `tenant_id` is walled by forced row-level security (see `walls.py`); its
keys and foreign keys start with the tenant, because uniqueness checks and foreign keys look
through row security. The hot transitions over these tables are the functions in `sql/`.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.states import ENDINGS, JobClass, JobStatus, StepKind, StepState, Work, WorkerState

SCHEMA = "stepwell"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(constraint_name)s",
    },
)

NOW = text("now()")


def _one_of(column: str, values: type[StrEnum] | frozenset[JobStatus]) -> str:
    listed = ", ".join(f"'{value}'" for value in sorted(values))
    return f"{column} in ({listed})"


def _moment(name: str, *, default: bool = False, nullable: bool = True) -> Column[object]:
    return Column(
        name,
        DateTime(timezone=True),
        server_default=NOW if default else None,
        nullable=nullable and not default,
    )


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    _moment("created_at", default=True),
    UniqueConstraint("name"),
)

# A job is one durable request of one tenant. It ends in exactly one of four statuses.
jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("agent", Text, nullable=False),
    Column("agent_version", Text, nullable=False),
    Column("model", Text),
    Column("job_class", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    _moment("status_until"),
    Column("waiting_for", Text),
    # How many steps are planned and not settled; the join waits for the last of them.
    Column("outstanding", Integer, nullable=False),
    Column("steps_done", Integer, nullable=False, server_default=text("0")),
    Column("next_seq", Integer, nullable=False),
    Column("event_seq", Integer, nullable=False, server_default=text("0")),
    _moment("cancel_requested_at"),
    _moment("created_at", default=True),
    _moment("started_at"),
    _moment("finished_at"),
    Column("idempotency_key", Text),
    Column("request_sha256", Text),
    Column("input", JSONB, nullable=False),
    Column("output", JSONB),
    Column("error", JSONB),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "idempotency_key"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    CheckConstraint(_one_of("status", JobStatus), name="job_status_is_known"),
    CheckConstraint(_one_of("job_class", JobClass), name="job_class_is_known"),
    # one_ending: an ended job has its moment, and only an ended job has one.
    CheckConstraint(
        f"(finished_at is not null) = ({_one_of('status', ENDINGS)})", name="one_ending"
    ),
    CheckConstraint("outstanding >= 0", name="outstanding_is_counted"),
    Index("jobs_newest", "tenant_id", "created_at", "id"),
    Index(
        "jobs_cancelling",
        "cancel_requested_at",
        postgresql_where=text("cancel_requested_at is not null and finished_at is null"),
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
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("job_class", Text, nullable=False),
    Column("work", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    # Tries that ended in a retry verdict, and claims lost with their worker.
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("losses", Integer, nullable=False, server_default=text("0")),
    Column("worker_id", Uuid),
    _moment("ready_at", default=True),
    _moment("rung_at"),
    _moment("claimed_at"),
    _moment("committed_at"),
    Column("input", JSONB),
    Column("output", JSONB),
    Column("error", JSONB),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint(_one_of("state", StepState), name="step_state_is_known"),
    CheckConstraint(_one_of("kind", StepKind), name="step_kind_is_known"),
    CheckConstraint(_one_of("job_class", JobClass), name="step_class_is_known"),
    CheckConstraint(_one_of("work", Work), name="step_work_is_known"),
    CheckConstraint(
        "(state = 'running') = (worker_id is not null and committed_at is null)",
        name="running_has_a_worker",
    ),
    CheckConstraint(
        "(committed_at is not null) = (state in ('committed', 'failed', 'cancelled'))",
        name="settled_has_its_moment",
    ),
    Index(
        "checkpoints_ready",
        "job_class",
        "work",
        "ready_at",
        postgresql_where=text("state = 'ready'"),
    ),
    Index("checkpoints_running", "worker_id", postgresql_where=text("state = 'running'")),
    postgresql_with={"fillfactor": "85"},
)

# One row per worker process incarnation: a new id at every start, beaten from outside the work.
workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("work", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("state", Text, nullable=False),
    _moment("started_at", default=True),
    _moment("beaten_at", default=True),
    CheckConstraint(_one_of("state", WorkerState), name="worker_state_is_known"),
    postgresql_with={"fillfactor": "50"},
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
    _moment("at", default=True),
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
    _moment("at", default=True),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
)

# Bytes of a tenant: uploads belong to no job, results to the step that made them.
artifacts = Table(
    "artifacts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("job_id", Uuid),
    Column("seq", Integer),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    _moment("created_at", default=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "job_id", "seq", "name"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint("size_bytes >= 0", name="size_is_counted"),
)

artifact_chunks = Table(
    "artifact_chunks",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("artifact_id", Uuid, nullable=False),
    Column("n", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "artifact_id", "n"),
    ForeignKeyConstraint(
        ["tenant_id", "artifact_id"],
        ["stepwell.artifacts.tenant_id", "stepwell.artifacts.id"],
        ondelete="CASCADE",
    ),
)

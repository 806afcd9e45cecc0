"""What is asked for again and again, and what became of every tick of it."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store.schema.ground import JOB_CLASS, metadata, moment, word
from store.states import CatchUp, Overlap, TickState

NONE = text("'{}'")

# A schedule makes a job of one agent at every tick of its rhythm.
schedules = Table(
    "schedules",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # What each of its jobs is asked for.
    Column("agent", Text, nullable=False),
    Column("input", JSONB, nullable=False),
    Column("job_class", JOB_CLASS, nullable=False),
    Column("model", Text),
    Column("deadline_s", Double),
    # What a job of the agent begins with, as last told: version, steps, deadline_s and budget.
    Column("begins", JSONB, nullable=False),
    # Whose wish it is: what its jobs take over, and the doors that its maker came through.
    Column("requester", Text),
    Column("roles", ARRAY(Text), nullable=False, server_default=NONE),
    Column("origins_above", ARRAY(Text), nullable=False, server_default=NONE),
    # Where the texts came from that the job had read which made it, for its jobs to take over.
    Column("tainted_by", ARRAY(Text), nullable=False, server_default=NONE),
    # Whether the input may be such a text, as that job has written it and no person has seen it;
    # null where the version before has made it, and nobody knows.
    Column("input_tainted", Boolean),
    # The rhythm: one of three, and the zone whose clocks it goes by.
    Column("cron", Text),
    Column("every_s", Integer),
    moment("once_at"),
    Column("zone", Text, nullable=False),
    # What the ticks of an interval are counted from.
    moment("starts_at", default=True),
    Column("jitter_s", Double, nullable=False, server_default=text("0")),
    Column("catch_up", word("catch_up", CatchUp), nullable=False),
    Column("catch_up_max", Integer, nullable=False),
    Column("overlap", word("overlap", Overlap), nullable=False),
    moment("created_at", default=True),
    moment("paused_at"),
    # The tick to come, and when it is due, its jitter included; null when there is none any more.
    moment("next_tick_at"),
    moment("next_at"),
    # The tick of the rhythm that a moved run is in place of; null while nothing is moved.
    moment("replaced_tick_at"),
    # The last tick that the clock has brought, and the job that was made last.
    moment("last_tick_at"),
    Column("last_job_id", Uuid),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    CheckConstraint("num_nonnulls(cron, every_s, once_at) = 1", name="schedule_has_one_rhythm"),
    CheckConstraint("every_s >= 1", name="interval_is_positive"),
    CheckConstraint("jitter_s >= 0", name="jitter_is_later"),
    CheckConstraint("catch_up_max between 1 and 1000", name="catch_up_is_bounded"),
    CheckConstraint("last_tick_at < next_tick_at", name="ticks_only_advance"),
    CheckConstraint(
        "(next_tick_at is null) = (next_at is null) and next_at >= next_tick_at",
        name="tick_is_due_after_it",
    ),
    Index(
        "schedules_due",
        "next_at",
        postgresql_where=text("next_at is not null and paused_at is null"),
    ),
    Index("schedules_ended", "created_at", postgresql_where=text("next_at is null")),
    postgresql_with={"fillfactor": "70"},
)

# A tick of a schedule, and what became of it. Its key is what makes a tick fire once.
ticks = Table(
    "ticks",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("schedule_id", Uuid, nullable=False),
    moment("tick_at", nullable=False),
    Column("state", word("tick_state", TickState), nullable=False),
    # Why it made no job: it was missed, another one ran, or too many waited.
    Column("reason", Text),
    # How many ticks right before it had the same fate, and have no row of their own.
    Column("missed", Integer, nullable=False, server_default=text("0")),
    Column("job_id", Uuid),
    moment("at", default=True),
    # The call by which its job has moved the next tick; it may do so once.
    Column("moved_by", Text),
    PrimaryKeyConstraint("tenant_id", "schedule_id", "tick_at", name="tick_fires_once"),
    ForeignKeyConstraint(
        ["tenant_id", "schedule_id"],
        ["stepwell.schedules.tenant_id", "stepwell.schedules.id"],
        name="ticks_schedule_fkey",
        ondelete="CASCADE",
    ),
    CheckConstraint("(state = 'fired') = (job_id is not null)", name="fired_has_a_job"),
    CheckConstraint("(state = 'skipped') = (reason is not null)", name="skipped_has_a_reason"),
    Index("ticks_by_time", "at"),
    Index(
        "ticks_of_job",
        "tenant_id",
        "job_id",
        unique=True,
        postgresql_where=text("job_id is not null"),
    ),
    Index(
        "ticks_waiting",
        "tenant_id",
        "schedule_id",
        "tick_at",
        postgresql_where=text("state = 'waiting'"),
    ),
)

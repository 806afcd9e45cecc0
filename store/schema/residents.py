"""Who is here: the tenants whose rows these are, and the workers that run their steps."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.ground import WORK, metadata, moment, word
from store.states import WorkerState

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    moment("created_at", default=True),
    # How many steps of it have their turn where others have one, and how many may wait at once.
    Column("weight", Integer, nullable=False, server_default=text("1")),
    Column("waiting_max", Integer),
    UniqueConstraint("name"),
    CheckConstraint("weight between 1 and 100", name="weight_is_small"),
    CheckConstraint("waiting_max > 0", name="quota_is_positive"),
)

# One row per worker process incarnation: a new id at every start, beaten from outside the work.
workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("work", WORK, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("state", word("worker_state", WorkerState), nullable=False),
    # The agents it serves, and in which version: {name: version}.
    Column("serves", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # What a new job of each begins with: {name: {"version", "steps", "deadline_s"}}.
    Column("begins", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("started_at", default=True),
    moment("beaten_at", default=True),
    postgresql_with={"fillfactor": "50"},
)

"""Who is here: the tenants whose rows these are, and the workers that run their steps."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, Table, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.ground import metadata, moment, one_of
from store.states import WorkerState

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    moment("created_at", default=True),
    UniqueConstraint("name"),
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
    # The agents it serves, and in which version: {name: version}.
    Column("serves", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("started_at", default=True),
    moment("beaten_at", default=True),
    CheckConstraint(one_of("state", WorkerState), name="worker_state_is_known"),
    postgresql_with={"fillfactor": "50"},
)

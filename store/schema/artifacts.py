"""The bytes of a tenant, in chunks, with a label each."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from store.schema.ground import metadata, moment

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
    moment("created_at", default=True),
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

"""What tenants ask for before calls of their agents: every version of every rule."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
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

from store.schema.ground import metadata, moment, one_of
from store.states import RuleVerdict

# Append-only. The newest version of an id is the rule that holds, or says that there is none.
policy_rules = Table(
    "policy_rules",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("tool", Text, nullable=False),
    Column("expression", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("role", Text),
    Column("quorum", Integer, nullable=False),
    Column("is_removed", Boolean, nullable=False, server_default=text("false")),
    Column("decided_by", Text, nullable=False),
    moment("decided_at", default=True),
    PrimaryKeyConstraint("tenant_id", "id", "version"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    CheckConstraint(one_of("verdict", RuleVerdict), name="rule_only_tightens"),
    CheckConstraint("version > 0", name="rule_version_counts"),
    CheckConstraint("quorum between 1 and 10", name="rule_quorum_is_small"),
)

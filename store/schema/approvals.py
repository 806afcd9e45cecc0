"""What people are asked about tool calls, what they said, and the audit that nobody can rewrite."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store.schema.ground import metadata, moment, word
from store.states import ApprovalEnding, ApprovalState, Decision, Tier

DECISION = word("decision", Decision)
# The chain of an audit begins with this.
GENESIS_SHA256 = "0" * 64

# One tool call that people are asked about. What it shows never changes.
approvals = Table(
    "approvals",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    # Counts the questions about this step from 1; an edit, or changed code, asks anew.
    Column("n", Integer, nullable=False),
    # The wait of the step that ends with it.
    Column("wait_n", Integer, nullable=False),
    Column("tool", Text, nullable=False),
    Column("args", JSONB, nullable=False),
    Column("args_sha256", Text, nullable=False),
    # Of the tool's schema and declaration.
    Column("tool_sha256", Text, nullable=False),
    Column("tier", word("tier", Tier), nullable=False),
    # Of whom; null is anybody but the one who asked for the job.
    Column("role", Text),
    # How many different people have to say yes.
    Column("quorum", Integer, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    # The rules that spoke, and the version of the policy they are of.
    Column("rules", ARRAY(Text), nullable=False),
    Column("policy_version", Text, nullable=False),
    # What it comes to when nobody decides in time: approve or reject.
    Column("fallback", DECISION, nullable=False),
    Column("state", word("approval_state", ApprovalState), nullable=False),
    Column("ending", word("approval_ending", ApprovalEnding)),
    # The same call, made again by this job, needs no other word.
    Column("is_remembered", Boolean, nullable=False, server_default=text("false")),
    moment("created_at", default=True),
    moment("expires_at"),
    moment("closed_at"),
    # When, and under which claim, the call was begun: once.
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
        name="approvals_step_fkey",
        ondelete="CASCADE",
    ),
    CheckConstraint("quorum >= 1", name="somebody_decides"),
    CheckConstraint("fallback in ('approve', 'reject')", name="fallback_is_yes_or_no"),
    CheckConstraint(
        "(closed_at is null) = (state = 'pending') and (ending is null) = (state = 'pending')",
        name="closed_approval_has_its_ending",
    ),
    # approval_binds: only a yes can be made use of.
    CheckConstraint(
        "consumed_at is null or state = 'granted'", name="only_a_granted_approval_is_consumed"
    ),
    CheckConstraint(
        "(consumed_at is null) = (consumed_epoch is null)", name="consumed_approval_has_its_claim"
    ),
    Index(
        "one_approval_per_step",
        "tenant_id",
        "job_id",
        "seq",
        unique=True,
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "approvals_asking", "tenant_id", "created_at", postgresql_where=text("state = 'pending'")
    ),
    Index(
        "approvals_due",
        "expires_at",
        postgresql_where=text("state = 'pending' and expires_at is not null"),
    ),
    Index(
        "approvals_remembered",
        "tenant_id",
        "job_id",
        "args_sha256",
        postgresql_where=text("is_remembered"),
    ),
)

# What people said, a row each; nothing is ever changed here.
decisions = Table(
    "decisions",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("decision", DECISION, nullable=False),
    # The arguments that were shown.
    Column("args_sha256", Text, nullable=False),
    Column("reason", Text),
    Column("answer", JSONB),
    Column("remember", Boolean, nullable=False, server_default=text("false")),
    moment("decided_at", default=True),
    # A quorum is one of different people, so a question hears each of them once.
    PrimaryKeyConstraint("tenant_id", "job_id", "seq", "n", "decided_by"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id", "seq", "n"],
        [
            "stepwell.approvals.tenant_id",
            "stepwell.approvals.job_id",
            "stepwell.approvals.seq",
            "stepwell.approvals.n",
        ],
        name="decisions_approval_fkey",
        ondelete="CASCADE",
    ),
)

# Decisions, expiries and consumptions, for good; it outlives the jobs it speaks of.
audit = Table(
    "audit",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    # Counts the lines of the tenant from 1, without gaps.
    Column("n", BigInteger, nullable=False),
    Column("content", JSONB, nullable=False),
    # Of the line before; and of that, the tenant, the number and the content.
    Column("before_sha256", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    # Of its content, to look for; the hash covers it there.
    Column("job_id", Uuid, Computed("(content ->> 'job_id')::uuid", persisted=True)),
    PrimaryKeyConstraint("tenant_id", "n"),
    Index(
        "audit_of_a_job", "tenant_id", "job_id", "n", postgresql_where=text("job_id is not null")
    ),
)

# Where the audit of each tenant ends. Whoever adds a line holds this row.
audit_chains = Table(
    "audit_chains",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("length", BigInteger, nullable=False, server_default=text("0")),
    Column("sha256", Text, nullable=False, server_default=text(f"'{GENESIS_SHA256}'")),
    PrimaryKeyConstraint("tenant_id"),
)

"""How much there is to do: what waits, the level, whose turn it is, and what was refused."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.ground import JOB_CLASS, WORK, metadata, moment

ZERO = text("0")

# What waits in Postgres of each class, counted about once a second. One row a class, for good.
census = Table(
    "census",
    metadata,
    Column("job_class", JOB_CLASS, nullable=False),
    # Steps that nobody has rung for, and how long the first of them waits already.
    Column("waiting", Integer, nullable=False, server_default=ZERO),
    moment("oldest_at"),
    # First steps that were brought to a lane and came back: turned away at a gate, for instance.
    Column("turned_away", Integer, nullable=False, server_default=ZERO),
    Column("running", Integer, nullable=False, server_default=ZERO),
    # The tenants that have something waiting: their number, and the sum of their weights lately.
    Column("tenants", Integer, nullable=False, server_default=ZERO),
    Column("weights", Double, nullable=False, server_default=ZERO),
    # Starts that came out of the backlog: all of them, and how many a second lately.
    Column("started", BigInteger, nullable=False, server_default=ZERO),
    Column("started_counted", BigInteger, nullable=False, server_default=ZERO),
    Column("started_per_s", Double),
    # The least that a start has waited since the level was last judged.
    Column("wait_min_s", Double),
    # Submissions that were refused, ever.
    Column("refused", BigInteger, nullable=False, server_default=ZERO),
    PrimaryKeyConstraint("job_class"),
    postgresql_with={"fillfactor": "50"},
)

# The same, by tenant; one who has nothing waiting has no row.
tenant_census = Table(
    "tenant_census",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_class", JOB_CLASS, nullable=False),
    Column("waiting", Integer, nullable=False),
    # Submissions that were refused and told to come back at a time that is still to come.
    Column("promised", Integer, nullable=False, server_default=ZERO),
    PrimaryKeyConstraint("tenant_id", "job_class"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"], ondelete="CASCADE"),
    postgresql_with={"fillfactor": "50"},
)

# The platform as a whole, in its only row.
load = Table(
    "load",
    metadata,
    Column("is_the_one", Boolean, primary_key=True, server_default=text("true")),
    # 0 normal, 1 nothing optional, 2 batch and background by their share only, 3 no new default.
    Column("level", Integer, nullable=False, server_default=ZERO),
    moment("since", default=True),
    # Intervals in a row that were calm; when the last one was judged.
    Column("calm", Integer, nullable=False, server_default=ZERO),
    moment("judged_at"),
    # When the census was taken, and what that cost.
    moment("measured_at"),
    Column("cost_s", Double, nullable=False, server_default=ZERO),
    # Slots of live workers.
    Column("slots_waits", Integer, nullable=False, server_default=ZERO),
    Column("slots_computes", Integer, nullable=False, server_default=ZERO),
    # How long jobs usually take from their start, by agent: {name: seconds}.
    Column("usual_s", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("usual_at"),
    CheckConstraint("is_the_one", name="load_is_one_row"),
    CheckConstraint("level between 0 and 3", name="level_is_known"),
    postgresql_with={"fillfactor": "50"},
)

# Whose turn it is: where the round over the tenants of a lane goes on.
turns = Table(
    "turns",
    metadata,
    Column("job_class", JOB_CLASS, nullable=False),
    Column("work", WORK, nullable=False),
    # New starts have a round of their own, behind steps of jobs that were begun.
    Column("is_start", Boolean, nullable=False),
    # The tenant whose turn was the last, and how many steps are left of it.
    Column("whose", Uuid, nullable=False),
    Column("steps_left", Integer, nullable=False),
    PrimaryKeyConstraint("job_class", "work", "is_start"),
    postgresql_with={"fillfactor": "50"},
)

# What was refused for want of room, and why: the only thing that a refusal leaves.
refusals = Table(
    "refusals",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    moment("at", default=True),
    Column("job_class", JOB_CLASS, nullable=False),
    Column("agent", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # The same for the same request, so that one who comes back when told to is known.
    Column("request_sha256", Text, nullable=False),
    Column("retry_after_s", Double, nullable=False),
    moment("come_at", nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    Index("refusals_by_time", "at"),
    Index("refusals_of_tenant", "tenant_id", "at"),
    Index("refusals_promised", "come_at"),
    Index("refusals_of_request", "tenant_id", "request_sha256", "come_at"),
)

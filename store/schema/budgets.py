"""What may be spent, what is set aside, and what was spent: an account each, and their ledger."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Uuid,
    text,
)

from store.schema.ground import metadata, moment, word
from store.states import BudgetScope, BudgetUnit

SCOPE = word("budget_scope", BudgetScope)
UNIT = word("budget_unit", BudgetUnit)
# Steps, tokens, dollars or seconds: dollars to the billionth, and never a float.
AMOUNT = Numeric(28, 9)
# The day of accounts that are of no day. With the scope `day` it holds the cap of every day.
NO_DAY = text("'0001-01-01'::date")


def _amount(name: str) -> Column[object]:
    return Column(name, AMOUNT, nullable=False, server_default=text("0"))


# What one job, one line of jobs, one tenant, or one tenant on one day may use of one unit. There is
# a row only where there is a cap, or once was one.
budgets = Table(
    "budgets",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    # The job, the first job of the line, or the tenant.
    Column("owner_id", Uuid, nullable=False),
    Column("scope", SCOPE, nullable=False),
    Column("day", Date, nullable=False, server_default=NO_DAY),
    Column("unit", UNIT, nullable=False),
    Column("job_id", Uuid),
    # The job that this one's budget was carved out of.
    Column("parent_id", Uuid),
    # Null: it is only counted.
    Column("cap", AMOUNT),
    # Set aside for steps that are at work, and for children that are.
    _amount("reserved"),
    _amount("lent"),
    _amount("spent"),
    # The part of `spent` that no row of the ledger tells of: see carry_budget, forget_entries.
    _amount("base"),
    # The part of the cap that its parent has lent, and whether it still does.
    _amount("taken"),
    Column("is_open", Boolean, nullable=False, server_default=text("true")),
    moment("since", default=True),
    PrimaryKeyConstraint("tenant_id", "owner_id", "scope", "day", "unit"),
    ForeignKeyConstraint(["tenant_id"], ["stepwell.tenants.tenant_id"]),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["stepwell.jobs.tenant_id", "stepwell.jobs.id"], ondelete="CASCADE"
    ),
    CheckConstraint(
        "reserved >= 0 and lent >= 0 and base >= 0 and spent >= base and taken >= 0",
        name="amounts_are_counted",
    ),
    CheckConstraint("cap >= 0", name="cap_is_an_amount"),
    CheckConstraint(
        "(job_id is null) = (scope in ('day', 'tenant')) and (job_id is null or job_id = owner_id)",
        name="budget_has_an_owner",
    ),
    # child_is_less: whoever lives on a loan has no more than the loan.
    CheckConstraint(
        "taken = 0 or not is_open or (parent_id is not null and cap <= taken)",
        name="loan_is_the_cap",
    ),
    Index("budgets_of_job", "tenant_id", "job_id", postgresql_where=text("job_id is not null")),
    Index(
        "budgets_lent",
        "tenant_id",
        "parent_id",
        postgresql_where=text("is_open and parent_id is not null"),
    ),
    postgresql_with={"fillfactor": "50"},
)

# The ledger: what one step set aside in one account, and what became of it. It outlives its job.
budget_entries = Table(
    "budget_entries",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("owner_id", Uuid, nullable=False),
    Column("scope", SCOPE, nullable=False),
    Column("day", Date, nullable=False),
    Column("unit", UNIT, nullable=False),
    Column("reserved", AMOUNT, nullable=False),
    _amount("spent"),
    # What went back; below zero where more was used than was set aside.
    _amount("released"),
    # The price was unknown, so what was set aside counts as spent.
    Column("is_estimated", Boolean, nullable=False, server_default=text("false")),
    moment("at", default=True),
    moment("settled_at"),
    PrimaryKeyConstraint("tenant_id", "job_id", "seq", "owner_id", "scope", "day", "unit"),
    # budget_conserved: what was reserved is spent, or has gone back.
    CheckConstraint(
        "case when settled_at is null then spent = 0 and released = 0 "
        "else spent + released = reserved end",
        name="budget_conserved",
    ),
    CheckConstraint("reserved >= 0 and spent >= 0", name="entries_are_amounts"),
    Index(
        "budget_entries_open",
        "tenant_id",
        "job_id",
        "seq",
        postgresql_where=text("settled_at is null"),
    ),
    Index("budget_entries_of_budget", "tenant_id", "owner_id", "scope", "day", "unit"),
    Index("budget_entries_settled", "settled_at", postgresql_where=text("settled_at is not null")),
    postgresql_with={"fillfactor": "70"},
)

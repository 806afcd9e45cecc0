"""Budgets: what jobs, lines of jobs, tenants and their days may use, and what became of it.

An account (a row of `budgets`) is there for each unit that has a cap. Before its call, a step sets
aside in every account that counts for it what it may come to use; its commit turns what it did use
into spent, and gives the rest back. The ledger (`budget_entries`) has a row for each of these, and
for every account holds, at every moment (budget_conserved):

    reserved = what open entries have set aside
    spent    = base + what settled entries have spent + what children have spent that are over
    lent     = what was carved out for children that are not

Amounts are exact: steps, tokens and seconds, and dollars to the billionth (`Decimal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from store.doors import HotConnection
from store.jsonb import write_json
from store.states import BudgetScope, BudgetUnit
from store.transitions import Claim

BILLIONTH = Decimal("0.000000001")
# What each account may be asked to hold, so that no sum of them is too long for its column.
AMOUNT_MAX = Decimal(10) ** 15

Caps = Mapping[BudgetUnit, Decimal]
# What the doors hand out, for callers who do not speak SQL themselves.
Transaction = Connection


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a step may come to use at most, as far as one can tell before its call."""

    steps: int = 1
    tokens: int = 0
    usd: Decimal = Decimal(0)

    def as_json(self) -> str:
        usd = self.usd.quantize(BILLIONTH, ROUND_CEILING)
        return write_json({"steps": self.steps, "tokens": self.tokens, "usd": f"{usd:f}"})


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The first account that has too little left for a step, as it stood when it was asked."""

    scope: BudgetScope
    unit: BudgetUnit
    cap: Decimal
    spent: Decimal
    reserved: Decimal
    lent: Decimal
    asked: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """What somebody may use of one unit, and how it stands. A cap of None is none at all."""

    scope: BudgetScope
    day: date | None
    unit: BudgetUnit
    cap: Decimal | None
    spent: Decimal
    reserved: Decimal
    lent: Decimal

    @property
    def left(self) -> Decimal | None:
        """What may still be set aside; None when there is no cap."""
        if self.cap is None:
            return None
        return max(Decimal(0), self.cap - self.spent - self.reserved - self.lent)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An account whose totals are not what its ledger says."""

    tenant_id: UUID
    owner_id: UUID
    scope: BudgetScope
    day: date
    unit: BudgetUnit
    total: str
    kept: Decimal
    counted: Decimal


class Raised(StrEnum):
    """What became of raising a cap."""

    RAISED = "raised"
    MISSING = "missing"
    PARENT = "parent"


# --- steps ----------------------------------------------------------------------------------------

_RESERVE = "select stepwell.reserve_budget(%b, %b, %b, %b, %s)"


class Reserved(StrEnum):
    """What was set aside for a step, when nothing was too little."""

    RESERVED = "reserved"


def reserve(
    connection: HotConnection, held: Claim, estimate: Estimate
) -> Reserved | Shortfall | None:
    """Set aside what the step may use, or say what is too little; None when the claim is stale."""
    row = connection.execute(
        _RESERVE, (held.tenant_id, held.job_id, held.seq, held.epoch, estimate.as_json())
    ).fetchone()
    if row is None or row[0] is None:
        return None
    if not row[0]:
        return Reserved.RESERVED
    told = row[0]
    amounts = {name: Decimal(told[name]) for name in ("cap", "spent", "reserved", "lent", "asked")}
    return Shortfall(BudgetScope(told["scope"]), BudgetUnit(told["unit"]), **amounts)


# --- jobs -----------------------------------------------------------------------------------------

_OPEN = text(
    """
    insert into stepwell.budgets (tenant_id, owner_id, scope, unit, job_id, cap)
    select :tenant, :job, :scope, key, :job, value::numeric
      from jsonb_each_text(cast(:caps as jsonb))
    """
)


def open_accounts(
    tx: Connection, tenant_id: UUID, job_id: UUID, scope: BudgetScope, caps: Caps
) -> None:
    """Give a job that was just made, or the line that it begins, these caps."""
    given = {unit.value: f"{cap:f}" for unit, cap in caps.items()}
    if given:
        told = {"tenant": tenant_id, "job": job_id, "scope": scope.value, "caps": write_json(given)}
        tx.execute(_OPEN, told)


_OF_JOB = text(
    """
    select b.scope, b.day, b.unit, b.cap, b.reserved, b.lent,
           b.spent + case b.unit when 'seconds' then extract(
             epoch from coalesce(j.finished_at, clock_timestamp()) - j.created_at)
             else 0 end as spent
      from stepwell.jobs j
      join stepwell.budgets b on b.tenant_id = j.tenant_id
       and (b.owner_id = j.id and b.scope = 'job' or b.owner_id = j.root_id and b.scope = 'tree')
     where j.tenant_id = current_setting('stepwell.tenant_id')::uuid and j.id = :job
     order by b.scope, b.unit
    """
)


def list_of_job(tx: Connection, job_id: UUID) -> list[Account]:
    """The accounts of a job, and those of the line of jobs it is in."""
    return [_account(row) for row in tx.execute(_OF_JOB, {"job": job_id})]


def raise_cap(
    tx: Connection,
    tenant_id: UUID,
    owner_id: UUID,
    scope: BudgetScope,
    unit: BudgetUnit,
    by: Decimal,
) -> Raised:
    """Allow a job, or the line that the job is the first of, so much more."""
    found = tx.execute(
        text("select stepwell.raise_budget(:tenant, :owner, :scope, :unit, :by)"),
        {
            "tenant": tenant_id,
            "owner": owner_id,
            "scope": scope.value,
            "unit": unit.value,
            "by": by,
        },
    ).scalar_one()
    return Raised(found)


# --- tenants --------------------------------------------------------------------------------------

_SET = text(
    """
    insert into stepwell.budgets (tenant_id, owner_id, scope, unit, cap)
    values (:tenant, :tenant, :scope, :unit, :cap)
    on conflict (tenant_id, owner_id, scope, day, unit) do update set cap = excluded.cap
    """
)
_SET_TODAY = text(
    """
    update stepwell.budgets b set cap = :cap
     where b.tenant_id = :tenant and b.owner_id = :tenant and b.scope = 'day' and b.unit = :unit
       and b.day >= (now() at time zone 'utc')::date
    """
)
_OF_TENANT = text(
    """
    select standing.scope, nullif(greatest(standing.day, today.day), '0001-01-01') as day,
           standing.unit, standing.cap, coalesce(today.reserved, standing.reserved) as reserved,
           standing.lent, coalesce(today.spent, standing.spent) as spent
      from stepwell.budgets standing
      left join stepwell.budgets today
        on standing.scope = 'day' and today.tenant_id = standing.tenant_id
       and today.owner_id = standing.owner_id and today.scope = 'day'
       and today.day = (now() at time zone 'utc')::date and today.unit = standing.unit
     where standing.tenant_id = :tenant and standing.owner_id = :tenant
       and standing.day = '0001-01-01'
     order by standing.scope desc, standing.unit
    """
)


def set_cap(
    tx: Connection, tenant_id: UUID, scope: BudgetScope, unit: BudgetUnit, cap: Decimal | None
) -> None:
    """Bound what a tenant may use, altogether or on each day; None lifts it. Operator's door.

    What is used is counted from the first cap on.
    """
    told = {"tenant": tenant_id, "scope": scope.value, "unit": unit.value, "cap": cap}
    tx.execute(_SET, told)
    if scope is BudgetScope.DAY:
        tx.execute(_SET_TODAY, {"tenant": tenant_id, "unit": unit.value, "cap": cap})


def list_of_tenant(tx: Connection, tenant_id: UUID) -> list[Account]:
    """What a tenant may use, altogether and today."""
    return [_account(row) for row in tx.execute(_OF_TENANT, {"tenant": tenant_id})]


# --- what nobody said -----------------------------------------------------------------------------

_UNSETTLED = text(
    """
    (select e.tenant_id, e.job_id, e.seq
       from stepwell.budget_entries e
       join stepwell.checkpoints c
         on c.tenant_id = e.tenant_id and c.job_id = e.job_id and c.seq = e.seq
      where e.settled_at is null and c.state in ('committed', 'failed', 'cancelled')
        and (cast(:root as uuid) is null or e.job_id in (
          select j.id from stepwell.jobs j where j.tenant_id = e.tenant_id and j.root_id = :root))
      limit :limit)
    union
    (select b.tenant_id, b.owner_id, 0
       from stepwell.budgets b
       join stepwell.jobs j on j.tenant_id = b.tenant_id and j.id = b.owner_id
      where b.is_open and b.parent_id is not null and j.finished_at is not null
        and j.outstanding = 0 and (cast(:root as uuid) is null or j.root_id = :root)
        and not exists (select from stepwell.budgets child
                         where child.tenant_id = b.tenant_id and child.parent_id = b.owner_id
                           and child.is_open)
      limit :limit)
    order by 3 desc
    limit :limit
    """
)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A step that is over and has something set aside; step 0 is a whole job that is over."""

    tenant_id: UUID
    job_id: UUID
    seq: int


def list_unsettled(tx: Connection, *, limit: int, root_id: UUID | None = None) -> list[Unsettled]:
    """What ended without a commit of its own, of one line of jobs or of all."""
    rows = tx.execute(_UNSETTLED, {"limit": limit, "root": root_id})
    return [Unsettled(*row) for row in rows]


def settle(tx: Connection, what: Unsettled) -> None:
    """Give back what it has not used. One in a transaction: see settle_budget for its locks."""
    tx.execute(
        text("select stepwell.settle_budget(:tenant, :job, :seq)"),
        {"tenant": what.tenant_id, "job": what.job_id, "seq": what.seq},
    )


def forget(tx: Connection, *, kept_s: float, limit: int) -> int:
    """Forget old rows of the ledger whose jobs are forgotten. Operator's door."""
    statement = text("select stepwell.forget_entries(:kept, :limit)")
    return int(tx.execute(statement, {"kept": kept_s, "limit": limit}).scalar_one())


# --- the books ------------------------------------------------------------------------------------

_RECONCILE = text(
    """
    select b.tenant_id, b.owner_id, b.scope, b.day, b.unit, total.name, total.kept, total.counted
      from stepwell.budgets b
     cross join lateral (
       select coalesce(sum(e.reserved) filter (where e.settled_at is null), 0) as reserved,
              coalesce(sum(e.spent), 0) as spent
         from stepwell.budget_entries e
        where e.tenant_id = b.tenant_id and e.owner_id = b.owner_id and e.scope = b.scope
          and e.day = b.day and e.unit = b.unit) entries
     cross join lateral (
       select coalesce(sum(c.taken) filter (where c.is_open), 0) as lent,
              coalesce(sum(c.spent) filter (where not c.is_open), 0) as spent
         from stepwell.budgets c
        where b.scope = 'job' and b.unit <> 'seconds' and c.tenant_id = b.tenant_id
          and c.parent_id = b.owner_id and c.scope = 'job' and c.unit = b.unit) children
     cross join lateral (values
       ('reserved', b.reserved, entries.reserved),
       ('spent', b.spent, b.base + entries.spent + children.spent),
       ('lent', b.lent, children.lent)) as total (name, kept, counted)
     where total.kept <> total.counted
       and (cast(:owner as uuid) is null or b.owner_id = :owner)
     order by 1, 2, 3, 4, 5
     limit :limit
    """
)


def reconcile(
    tx: Connection, *, owner_id: UUID | None = None, limit: int = 100
) -> list[Discrepancy]:
    """Every total that is not the sum of its parts, of one owner or of all that this door sees."""
    rows = tx.execute(_RECONCILE, {"limit": limit, "owner": owner_id})
    return [
        Discrepancy(
            row.tenant_id,
            row.owner_id,
            BudgetScope(row.scope),
            row.day,
            BudgetUnit(row.unit),
            row.name,
            row.kept,
            row.counted,
        )
        for row in rows
    ]


def _account(row: Any) -> Account:
    return Account(
        BudgetScope(row.scope),
        row.day if row.scope == "day" else None,
        BudgetUnit(row.unit),
        row.cap,
        row.spent,
        row.reserved,
        row.lent,
    )

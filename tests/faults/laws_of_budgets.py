"""Laws of money: totals are the sums of the ledger, the ledger is what was used, caps are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from tests.faults.cases import Connection

# Whose it is: owner, scope, day, unit.
Key = tuple[UUID, str, Any, str]


@dataclass(frozen=True, slots=True)
class Account:
    """A row of `budgets`."""

    owner_id: UUID
    scope: str
    day: Any
    unit: str
    parent_id: UUID | None
    cap: Decimal | None
    reserved: Decimal
    lent: Decimal
    spent: Decimal
    base: Decimal
    taken: Decimal
    is_open: bool

    @property
    def key(self) -> Key:
        return self.owner_id, self.scope, self.day, self.unit

    def __str__(self) -> str:
        return f"the {self.unit} of {self.scope} {self.owner_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger, with the step and the usage that it is about."""

    job_id: UUID
    seq: int
    owner_id: UUID
    scope: str
    day: Any
    unit: str
    reserved: Decimal
    spent: Decimal
    released: Decimal
    is_estimated: bool
    is_settled: bool
    # None when the job is forgotten already.
    state: str | None
    tokens: int | None
    cost_usd: Decimal | None

    @property
    def key(self) -> Key:
        return self.owner_id, self.scope, self.day, self.unit

    @property
    def overrun(self) -> Decimal:
        return max(Decimal(0), self.spent - self.reserved)


ACCOUNTS = """
    select owner_id, scope, day, unit, parent_id, cap, reserved, lent, spent, base, taken, is_open
      from stepwell.budgets where unit <> 'seconds'
"""
ENTRIES = """
    select e.job_id, e.seq, e.owner_id, e.scope, e.day, e.unit, e.reserved, e.spent, e.released,
           e.is_estimated, e.settled_at is not null as is_settled, c.state,
           u.input_tokens + u.output_tokens as tokens, u.cost_usd
      from stepwell.budget_entries e
      left join stepwell.checkpoints c using (tenant_id, job_id, seq)
      left join stepwell.usage u using (tenant_id, job_id, seq)
"""


def budgets_add_up(operator: Connection) -> Iterator[tuple[UUID, str]]:
    """Every (job, what is wrong) about budgets; a part of budget_conserved."""
    with operator.cursor(row_factory=class_row(Account)) as cursor:
        accounts = {each.key: each for each in cursor.execute(ACCOUNTS).fetchall()}
    with operator.cursor(row_factory=class_row(Entry)) as cursor:
        entries = cursor.execute(ENTRIES).fetchall()
    for entry in entries:
        yield from ((entry.job_id, text) for text in _wrong_with(entry))
        if entry.key not in accounts:
            yield entry.job_id, f"step {entry.seq} has set something aside where there is nothing"
    by_key: dict[Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_key[entry.key].append(entry)
    for account in accounts.values():
        loans = [
            each
            for each in accounts.values()
            if each.parent_id == account.owner_id and each.unit == account.unit
            if account.scope == each.scope == "job"
        ]
        for text in _totals(account, by_key[account.key], loans):
            yield account.owner_id, f"{account}: {text}"


def _wrong_with(entry: Entry) -> Iterator[str]:
    step = f"step {entry.seq} has {entry.unit}"
    if not entry.is_settled or entry.state is None:
        return
    if entry.spent + entry.released != entry.reserved:
        yield f"{step} that are neither spent nor released"
    if entry.state not in ("committed", "failed", "cancelled"):
        yield f"{step} that are settled, and it is {entry.state}"
    used = {"tokens": Decimal(entry.tokens or 0), "usd": entry.cost_usd}.get(entry.unit)
    if entry.unit == "tokens" and used != entry.spent:
        yield f"{step} booked as {entry.spent}, and used {used}"
    if entry.unit == "usd" and used is not None and used != entry.spent:
        yield f"{step} booked as {entry.spent}, and used {used}"
    if entry.is_estimated and entry.spent != entry.reserved:
        yield f"{step} that nobody knows, and they are not what was set aside"


def _totals(account: Account, entries: list[Entry], loans: list[Account]) -> Iterator[str]:
    reserved = sum((each.reserved for each in entries if not each.is_settled), Decimal(0))
    spent = account.base + sum((each.spent for each in entries), Decimal(0))
    spent += sum((each.spent for each in loans if not each.is_open), Decimal(0))
    lent = sum((each.taken for each in loans if each.is_open), Decimal(0))
    for name, counted in (("reserved", reserved), ("spent", spent), ("lent", lent)):
        kept = getattr(account, name)
        if kept != counted:
            yield f"{kept} {name}, and the ledger says {counted}"
    in_use = account.reserved + account.spent + account.lent
    overrun = sum((each.overrun for each in entries), Decimal(0))
    overrun += sum((max(Decimal(0), each.spent - each.taken) for each in loans), Decimal(0))
    is_kept = account.cap is None or in_use <= account.cap + overrun
    if account.scope in ("job", "tree") and not is_kept:
        yield f"{in_use} in use, and the cap is {account.cap}"
    if account.is_open and account.taken and account.cap != account.taken:
        yield f"a cap of {account.cap} on a loan of {account.taken}"

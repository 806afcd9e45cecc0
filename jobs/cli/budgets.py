"""`stepwell budget`: what jobs and tenants may use, how it stands, and whether the books add up.

`show` and `raise` ask the platform, as its tenant. `set` and `verify` are the operator's: they open
the database itself, by STEPWELL_OPERATOR_DATABASE_URL, or that of the platform that runs here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from jobs.cli.finding import find_platform, home, read_record
from jobs.cli.given import read_span
from jobs.cli.ids import find_job_id, short
from jobs.cli.options import AsJson, JobId
from jobs.cli.speech import Code, Complaint, count, emit, log_on_stderr, out, say
from jobs.cli.submission import Wish
from store.states import BudgetScope, BudgetUnit

if TYPE_CHECKING:
    from store.budgets import Discrepancy
    from store.doors import Doors

app = typer.Typer(no_args_is_help=True, help="See, raise and check what jobs may use.")

# The word that lifts a cap.
NONE = "none"
SCOPES = {"job": "this job", "tree": "its whole line", "tenant": "the tenant", "day": "today"}
Amount = Annotated[str | None, typer.Option(metavar="AMOUNT")]


@app.command("show")
def show_budget(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Of this job; by default the tenant's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show caps, and what is spent, reserved and left."""
    with find_platform().client() as client:
        found = client.budget(None if job is None else find_job_id(client, job))
    if as_json:
        emit(found)
    elif found:
        out.print(budget_table(found))
    else:
        say("There is no cap." if job is None else "The job has no cap of its own.")


@app.command("raise")
def raise_budget(
    job: JobId,
    usd: Annotated[str | None, typer.Option(help="So many dollars more.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="So many tokens more.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="So many steps more.")] = None,
    time: Annotated[str | None, typer.Option(metavar="30m", help="So much time more.")] = None,
    tree: Annotated[
        bool, typer.Option("--tree", help="For the job with all the jobs around it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Allow a job more; a step that waits for budget goes on."""
    if all(each is None for each in (usd, tokens, steps, time)):
        raise Complaint("Say by how much.", hint=f"stepwell budget raise {job} --usd 5")
    usd = None if usd is None else f"{read_amount(usd, '--usd'):f}"
    seconds = None if time is None else read_span(time, "--time")
    with find_platform().client() as client:
        job_id = find_job_id(client, job)
        found = client.raise_budget(
            job_id, usd=usd, tokens=tokens, steps=steps, seconds=seconds, tree=tree
        )
        status = client.job(job_id)["status"]
    if as_json:
        emit(found)
        return
    out.print(budget_table(found))
    if status == "failed":
        say(f"go on from the failed step: stepwell dead-letters replay {short(job_id)}")


@app.command("set")
def set_budget(
    usd: Amount = None,
    tokens: Amount = None,
    steps: Amount = None,
    day_usd: Amount = None,
    day_tokens: Amount = None,
    day_steps: Amount = None,
    tenant: Annotated[
        UUID | None, typer.Option(help="The tenant's id; by default that of a single tenant.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bound what a tenant may use, altogether and on each day (UTC); `none` lifts a bound."""
    from store import budgets
    from store.tenants import DEFAULT_TENANT

    asked = {
        (BudgetScope.TENANT, BudgetUnit.USD): usd,
        (BudgetScope.TENANT, BudgetUnit.TOKENS): tokens,
        (BudgetScope.TENANT, BudgetUnit.STEPS): steps,
        (BudgetScope.DAY, BudgetUnit.USD): day_usd,
        (BudgetScope.DAY, BudgetUnit.TOKENS): day_tokens,
        (BudgetScope.DAY, BudgetUnit.STEPS): day_steps,
    }
    caps = {whose: read_cap(raw, _option(*whose)) for whose, raw in asked.items() if raw}
    if not caps:
        raise Complaint("Say what is bounded.", hint="stepwell budget set --day-usd 20")
    tenant_id = tenant or DEFAULT_TENANT
    with operators_doors() as doors, doors.as_operator("budget set") as tx:
        for (scope, unit), cap in caps.items():
            budgets.set_cap(tx, tenant_id, scope, unit, cap)
        found = [_as_shown(each) for each in budgets.list_of_tenant(tx, tenant_id)]
    if as_json:
        emit(found)
    else:
        out.print(budget_table(found))


@app.command("verify")
def verify_budgets(as_json: AsJson = False) -> None:
    """Add the ledger up, and compare it with every total, to the last unit."""
    from store import budgets

    with operators_doors() as doors, doors.as_operator("budget verify") as tx:
        found = budgets.reconcile(tx)
    if as_json:
        emit([_as_told(each) for each in found])
    elif found:
        out.print(discrepancy_table(found))
    else:
        say("Every total is the sum of its ledger.")
    if found:
        raise typer.Exit(Code.FAILED)


def bounded(wish: Wish, budget_usd: str | None, budget_tokens: int | None) -> Wish:
    """The wish, with what it may cost."""
    usd = None if budget_usd is None else f"{read_amount(budget_usd, '--budget-usd'):f}"
    return replace(wish, budget_usd=usd, budget_tokens=budget_tokens)


def show_below(accounts: list[dict[str, Any]]) -> None:
    """What a job may use, below all else that is shown of it."""
    if accounts:
        out.print()
        out.print(budget_table(accounts))


def budget_table(accounts: list[dict[str, Any]]) -> Table:
    """Accounts, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("budget of", "unit"):
        table.add_column(title, no_wrap=True)
    for title in ("cap", "spent", "reserved", "lent", "left"):
        table.add_column(title, no_wrap=True, justify="right")
    for each in accounts:
        amounts = [each[name] for name in ("cap", "spent", "reserved", "lent", "left")]
        shown = ["none" if amount is None else _grouped(amount) for amount in amounts]
        table.add_row(SCOPES[each["scope"]], each["unit"], *shown)
    return table


def discrepancy_table(found: list[Discrepancy]) -> Table:
    """Totals that are not the sum of their parts, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("whose", "scope", "unit", "total", "kept", "counted"):
        table.add_column(title, no_wrap=True)
    for each in found:
        kept, counted = _plain(each.kept), _plain(each.counted)
        table.add_row(str(each.owner_id), each.scope, each.unit, each.total, kept, counted)
    say(f"{count(len(found), 'total')} of budgets not what the ledger says:")
    return table


def read_amount(raw: str, option: str) -> Decimal:
    """An exact amount; a `Complaint` for what is none.

    >>> read_amount("2.50", "--usd")
    Decimal('2.50')
    """
    try:
        amount = Decimal(raw.strip().lstrip("$").replace("_", ""))
    except InvalidOperation:
        amount = Decimal("nan")
    # The exponent is a letter only of what is not finite, which is asked first.
    if not amount.is_finite() or amount < 0 or int(amount.as_tuple().exponent) < -9:
        raise Complaint(f"{option} takes an amount such as 2.50, not {raw!r}.")
    return amount


def read_cap(raw: str, option: str) -> Decimal | None:
    """An amount, or None for the word that lifts a cap."""
    return None if raw.strip().lower() == NONE else read_amount(raw, option)


@contextmanager
def operators_doors() -> Iterator[Doors]:
    """The database as the operator sees it; a `Complaint` when there is no way in."""
    from pydantic import SecretStr

    from store.doors import Doors
    from store.errors import StoreError
    from store.settings import StoreSettings

    log_on_stderr()
    record = read_record(home())
    named = os.environ.get("STEPWELL_DATABASE_URL") or record.get("database_url") or ""
    url = os.environ.get("STEPWELL_OPERATOR_DATABASE_URL") or record.get("operator_database_url")
    if not named and not url:
        raise Complaint(
            "No database is named, and nothing runs here.",
            hint="set STEPWELL_OPERATOR_DATABASE_URL, or run this where `stepwell up` runs",
        )
    url = SecretStr(str(url or named))
    doors = Doors(StoreSettings(database_url=url, operator_database_url=url, pool_size=1))
    try:
        yield doors
    except StoreError as error:
        raise Complaint(str(error), hint="stepwell doctor", code=Code.UNREACHABLE) from None
    finally:
        doors.close()


def _option(scope: BudgetScope, unit: BudgetUnit) -> str:
    return f"--day-{unit.value}" if scope is BudgetScope.DAY else f"--{unit.value}"


def _as_shown(account: Any) -> dict[str, Any]:
    names = ("cap", "spent", "reserved", "lent", "left")
    amounts = {name: getattr(account, name) for name in names}
    shown = {name: None if each is None else _plain(each) for name, each in amounts.items()}
    return {"scope": account.scope.value, "unit": account.unit.value, **shown}


def _as_told(found: Discrepancy) -> Mapping[str, str]:
    return {
        "tenant_id": str(found.tenant_id),
        "owner_id": str(found.owner_id),
        "scope": found.scope.value,
        "day": found.day.isoformat(),
        "unit": found.unit.value,
        "total": found.total,
        "kept": _plain(found.kept),
        "counted": _plain(found.counted),
    }


def _grouped(amount: str) -> str:
    return f"{Decimal(amount):,f}"


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"

"""Budgets at the store: set aside, settled, lent and returned, and never more than the cap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from threading import Thread
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from store import budgets, due
from store.budgets import Raised, Reserved, Shortfall
from store.doors import Doors
from store.letters import Replayed
from store.states import JobStatus, StepState
from store.transitions import Parked
from tests.budgeting import (
    DAY,
    JOB,
    SECONDS,
    STEPS,
    TENANT,
    TOKENS,
    TREE,
    USD,
    Bookkeeper,
    bounded_child,
)
from tests.running import at_once, eventually
from tests.stepping import COMPLETED, MODEL, QUESTION, call, child, delegate


@pytest.fixture
def books(doors: Doors, tenant: UUID) -> Bookkeeper:
    return Bookkeeper(doors, tenant)


@pytest.fixture(autouse=True)
def totals_are_sums(books: Bookkeeper) -> object:
    """Whatever a test does, the books have to be right after it."""
    yield
    assert books.discrepancies() == []


# --- a step ---------------------------------------------------------------------------------------


def test_a_job_without_a_budget_is_not_asked(books: Bookkeeper) -> None:
    assert not books.take(books.put_down()).is_budgeted


def test_what_is_set_aside_becomes_spent_and_the_rest_goes_back(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd="1.00", tokens=1000)
    held = books.take(job_id)
    assert held.is_budgeted
    assert books.reserve(held, tokens=900, usd="0.9") is Reserved.RESERVED
    assert books.standing(job_id, USD) == (Decimal("0.9"), 0, 0)
    books.spend(held, tokens=300, usd="0.123456789", ending=COMPLETED)
    assert books.standing(job_id, USD) == (0, 0, Decimal("0.123456789"))
    assert books.standing(job_id, TOKENS) == (0, 0, 300)
    assert books.entries(job_id) == [
        ("job", "tokens", 900, 300, 600, False, True),
        ("job", "usd", Decimal("0.9"), Decimal("0.123456789"), Decimal("0.776543211"), False, True),
    ]


def test_a_step_that_needs_more_than_is_left_sets_nothing_aside(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd="1.00", steps=5)
    held = books.take(job_id)
    refused = books.reserve(held, usd="1.000000001")
    assert isinstance(refused, Shortfall)
    assert (refused.scope, refused.unit, refused.cap) == (JOB, USD, Decimal(1))
    assert refused.asked == Decimal("1.000000001")
    assert books.entries(job_id) == []
    assert books.standing(job_id, STEPS) == (0, 0, 0)
    assert books.reserve(held, usd="1.000000000") is Reserved.RESERVED


def test_money_is_exact_to_the_billionth(books: Bookkeeper) -> None:
    plan = (MODEL,)
    job_id = books.put_down_with(usd="0.000000003")
    for seq in (1, 2, 3):
        held = books.take(job_id, seq)
        assert books.reserve(held, usd="0.000000001") is Reserved.RESERVED
        books.spend(held, usd="0.000000001", plan=plan)
    held = books.take(job_id, 4)
    assert isinstance(books.reserve(held, usd="0.000000001"), Shortfall)
    assert books.account(job_id, USD).left == 0


def test_an_estimate_is_rounded_up(books: Bookkeeper) -> None:
    held = books.take(books.put_down_with(usd=1))
    books.reserve(held, usd="0.0000000001")
    assert books.standing(held.job_id, USD)[0] == Decimal("0.000000001")


def test_where_the_price_is_unknown_what_was_set_aside_counts_as_spent(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    books.reserve(held, tokens=10, usd="0.25")
    books.spend(held, tokens=7, usd=None, ending=COMPLETED)
    assert books.standing(job_id, USD) == (0, 0, Decimal("0.25"))
    assert books.entries(job_id) == [
        ("job", "usd", Decimal("0.25"), Decimal("0.25"), 0, True, True)
    ]


def test_a_step_that_used_more_than_was_set_aside_is_booked_as_it_was(books: Bookkeeper) -> None:
    job_id = books.put_down_with(tokens=100)
    held = books.take(job_id)
    books.reserve(held, tokens=100)
    books.spend(held, tokens=130, plan=(MODEL,))
    assert books.standing(job_id, TOKENS) == (0, 0, 130)
    assert books.entries(job_id)[0][4] == -30
    assert isinstance(books.reserve(books.take(job_id, 2), tokens=1), Shortfall)


def test_a_stale_claim_sets_nothing_aside(books: Bookkeeper) -> None:
    job_id, worker = books.put_down_with(usd=1), books.start_worker()
    zombie = books.take(job_id, 1, worker)
    books.lose(worker)
    books.take(job_id)
    assert books.reserve(zombie, usd="0.5") is None
    assert books.standing(job_id, USD) == (0, 0, 0)


def test_a_step_that_is_taken_over_has_what_was_set_aside_for_it(books: Bookkeeper) -> None:
    job_id, worker = books.put_down_with(usd=1), books.start_worker()
    zombie = books.take(job_id, 1, worker)
    books.reserve(zombie, usd="0.8")
    books.lose(worker)
    assert books.standing(job_id, USD)[0] == Decimal("0.8")
    heir = books.take(job_id)
    assert books.reserve(heir, usd="0.8") is Reserved.RESERVED
    assert books.standing(job_id, USD)[0] == Decimal("0.8")
    books.spend(heir, usd="0.5", ending=COMPLETED)
    assert books.spend(zombie, usd="0.7", ending=COMPLETED) is None
    assert books.standing(job_id, USD) == (0, 0, Decimal("0.5"))


def test_a_step_that_is_tried_again_sets_nothing_aside_a_second_time(books: Bookkeeper) -> None:
    job_id = books.put_down_with(steps=1)
    held = books.take(job_id)
    books.reserve(held)
    books.release(held)
    held = books.take(job_id)
    assert books.reserve(held) is Reserved.RESERVED
    books.spend(held, ending=COMPLETED)
    assert books.standing(job_id, STEPS) == (0, 0, 1)


def test_a_step_that_failed_has_used_itself_and_nothing_that_nobody_told(books: Bookkeeper) -> None:
    job_id = books.put_down_with(steps=9, tokens=100, usd=1)
    held = books.take(job_id)
    books.reserve(held, tokens=50, usd="0.5")
    books.fail(held)
    assert books.standing(job_id, STEPS) == (0, 0, 1)
    assert books.standing(job_id, TOKENS) == books.standing(job_id, USD) == (0, 0, 0)


def test_a_step_that_was_cancelled_gives_all_of_it_back(books: Bookkeeper) -> None:
    """It had been lost with its worker, so no commit of its own tells of its end."""
    job_id, worker = books.put_down_with(steps=9, usd=1), books.start_worker()
    books.reserve(books.take(job_id, 1, worker), usd="0.5")
    books.lose(worker)
    assert books.settle_rest() == 0
    books.cancel(job_id)
    assert books.standing(job_id, USD)[0] == Decimal("0.5")
    assert books.settle_rest() == 1
    assert books.standing(job_id, USD) == books.standing(job_id, STEPS) == (0, 0, 0)
    assert books.settle_rest() == 0


def test_to_settle_twice_changes_nothing(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    books.reserve(held, usd="0.5")
    books.spend(held, usd="0.25", ending=COMPLETED)
    before = books.standing(job_id, USD)
    with books.doors.as_tenant(books.tenant_id) as tx:
        budgets.settle(tx, budgets.Unsettled(books.tenant_id, job_id, 1))
    assert books.standing(job_id, USD) == before


def test_time_that_is_over_refuses_the_step_that_was_set_aside_too(books: Bookkeeper) -> None:
    job_id = books.put_down_with(seconds=60, steps=9)
    held = books.take(job_id)
    assert books.reserve(held) is Reserved.RESERVED
    books.set_back("jobs", "created_at", 61, id=job_id)
    refused = books.reserve(held)
    assert isinstance(refused, Shortfall)
    assert (refused.unit, refused.cap) == (SECONDS, Decimal(60))
    assert 61 <= refused.spent < 120


# --- lines of jobs, tenants and days --------------------------------------------------------------


def test_the_first_account_that_has_too_little_is_told(books: Bookkeeper) -> None:
    books.cap_tenant(usd=1)
    job_id = books.put_down_with(usd=5)
    refused = books.reserve(books.take(job_id), usd=2)
    assert isinstance(refused, Shortfall)
    assert (refused.scope, refused.cap) == (TENANT, Decimal(1))


def test_a_tenants_cap_counts_for_jobs_that_have_none_of_their_own(books: Bookkeeper) -> None:
    books.cap_tenant(usd=1)
    first, second = books.take(books.put_down()), books.take(books.put_down())
    assert first.is_budgeted
    assert books.reserve(first, usd="0.7") is Reserved.RESERVED
    assert isinstance(books.reserve(second, usd="0.7"), Shortfall)
    books.spend(first, usd="0.2", ending=COMPLETED)
    assert books.reserve(second, usd="0.7") is Reserved.RESERVED
    assert books.standing(books.tenant_id, USD, TENANT) == (Decimal("0.7"), 0, Decimal("0.2"))


def test_a_cap_that_is_lifted_leaves_what_it_counted(books: Bookkeeper) -> None:
    books.cap_tenant(usd=1)
    held = books.take(books.put_down())
    books.reserve(held, usd=1)
    books.cap_tenant(usd=None)
    other = books.take(books.put_down())
    assert books.reserve(other, usd=100) is Reserved.RESERVED
    books.spend(held, usd=1, ending=COMPLETED)
    books.spend(other, usd=2, ending=COMPLETED)
    assert books.standing(books.tenant_id, USD, TENANT) == (0, 0, 3)


def test_one_tenants_cap_is_not_another_ones(
    books: Bookkeeper, doors: Doors, other_tenant: UUID
) -> None:
    books.cap_tenant(usd=0)
    other = Bookkeeper(doors, other_tenant)
    assert not other.take(other.put_down()).is_budgeted
    with doors.as_tenant(other_tenant) as tx:
        assert budgets.list_of_tenant(tx, books.tenant_id) == []


def test_a_day_has_its_own_account_by_the_clock_of_the_database(books: Bookkeeper) -> None:
    books.cap_tenant(DAY, usd=1)
    held = books.take(books.put_down())
    assert books.reserve(held, usd="0.9") is Reserved.RESERVED
    today = books.account(books.tenant_id, USD, DAY)
    assert (today.day, today.reserved) == (datetime.now(UTC).date(), Decimal("0.9"))

    # The day turns while the step is at work: what it set aside stays with the day it began on.
    move_days_back(books)
    other = books.take(books.put_down())
    assert books.reserve(other, usd="0.9") is Reserved.RESERVED
    books.spend(held, usd="0.5", ending=COMPLETED)
    books.spend(other, usd="0.3", ending=COMPLETED)
    assert books.standing(books.tenant_id, USD, DAY) == (0, 0, Decimal("0.3"))
    assert days_of(books) == [Decimal("0.5"), Decimal("0.3")]


def move_days_back(books: Bookkeeper) -> None:
    """Let what was counted today have been counted yesterday."""
    with books.doors.as_operator("test") as tx:
        for table in ("budgets", "budget_entries"):
            tx.execute(
                text(
                    f"update stepwell.{table} set day = day - 1"
                    " where scope = 'day' and day > '0001-01-01'"
                )
            )


def days_of(books: Bookkeeper) -> list[Decimal]:
    """What was spent on each day."""
    with books.doors.as_operator("test") as tx:
        rows = tx.execute(
            text(
                "select spent from stepwell.budgets"
                " where scope = 'day' and day > '0001-01-01' order by day"
            )
        )
        return [row.spent for row in rows]


def test_a_session_in_another_time_zone_has_the_same_day(books: Bookkeeper) -> None:
    books.cap_tenant(DAY, usd=1)
    held = books.take(books.put_down())
    zone = "Pacific/Kiritimati" if datetime.now(UTC).hour >= 11 else "Pacific/Midway"
    with books.doors.hot() as connection:
        connection.execute(f"set timezone = '{zone}'")
        assert budgets.reserve(connection, held, budgets.Estimate()) is Reserved.RESERVED
        row = connection.execute("select current_date").fetchone()
        connection.execute("set timezone = 'UTC'")
    today = datetime.now(UTC).date()
    assert row is not None
    assert row[0] != today
    assert books.account(books.tenant_id, USD, DAY).day == today


def test_a_new_cap_counts_today_already(books: Bookkeeper) -> None:
    books.cap_tenant(DAY, usd=1)
    first = books.take(books.put_down())
    books.reserve(first, usd=1)
    books.cap_tenant(DAY, usd=3)
    assert books.reserve(books.take(books.put_down()), usd=2) is Reserved.RESERVED


def test_a_line_of_jobs_has_a_cap_together(books: Bookkeeper) -> None:
    born = [child(), child()]
    parent_id = books.endow(books.put_down([call(1)]), TREE, steps=3)
    held = books.take(parent_id)
    books.reserve(held)
    books.park(held, delegate(*born))
    first, second = (books.take(each.id) for each in born)
    assert first.is_budgeted
    assert books.reserve(first) is books.reserve(second) is Reserved.RESERVED
    books.spend(first, plan=(MODEL,))
    refused = books.reserve(books.take(born[0].id, 2))
    assert isinstance(refused, Shortfall)
    assert (refused.scope, refused.spent) == (TREE, Decimal(1))
    assert refused.reserved == 2
    assert books.standing(parent_id, STEPS, TREE) == (2, 0, 1)


# --- children -------------------------------------------------------------------------------------


def test_children_share_what_is_left_and_a_part_stays_with_the_parent(books: Bookkeeper) -> None:
    born = [child(), child()]
    parent_id = books.bear_with(*born, usd="1.00", steps=8)
    for each in born:
        assert books.account(each.id, USD).cap == Decimal("0.333333333")
        assert books.account(each.id, STEPS).cap == 2
    assert books.standing(parent_id, USD) == (0, Decimal("0.666666666"), 0)
    assert books.account(parent_id, STEPS).left == 4


@pytest.mark.parametrize(
    ("asked", "lent", "left"),
    [
        (["0.7", "0.2"], ["0.7", "0.2"], "0.1"),
        (["0.7", "0.7", "0.7"], ["0.333333333", "0.333333333", "0.333333334"], "0"),
        (["5", "0.1"], ["0.9", "0.1"], "0"),
        (["0.75", "0.1", "0.75"], ["0.45", "0.1", "0.45"], "0"),
        (["0.1", "5"], ["0.1", "0.9"], "0"),
        (["5", None], ["0.666666667", "0.333333333"], "0"),
        ([None, "5"], ["0.333333333", "0.666666667"], "0"),
    ],
)
def test_a_child_gets_what_its_agent_names_or_a_fair_part(
    books: Bookkeeper, asked: list[str | None], lent: list[str], left: str
) -> None:
    born = [child() if usd is None else bounded_child(usd=usd) for usd in asked]
    parent_id = books.bear_with(*born, usd="1.00")
    caps = [books.account(each.id, USD).cap for each in born]
    assert caps == [Decimal(each) for each in lent]
    assert books.account(parent_id, USD).left == Decimal(left)


def test_a_child_has_the_caps_of_its_agent_where_its_parent_has_none(books: Bookkeeper) -> None:
    born = bounded_child(tokens=50)
    parent_id = books.bear_with(born)
    assert books.account(born.id, TOKENS).cap == 50
    assert not books.has_accounts(parent_id)


def test_what_a_child_did_not_use_goes_back_when_it_ends(books: Bookkeeper) -> None:
    born = child()
    parent_id = books.bear_with(born, usd="1.00")
    held = books.take(born.id)
    assert isinstance(books.reserve(held, usd="0.500000001"), Shortfall)
    books.reserve(held, usd="0.5")
    assert books.standing(parent_id, USD) == (0, Decimal("0.5"), 0)
    books.spend(held, usd="0.1", ending=COMPLETED)
    assert books.standing(parent_id, USD) == (0, 0, Decimal("0.1"))
    assert books.account(parent_id, USD).left == Decimal("0.9")


def test_a_grandchild_lives_on_what_its_parent_was_lent(books: Bookkeeper) -> None:
    born, grand = child(call(1)), child()
    top = books.bear_with(born, usd=8)
    assert books.park(books.take(born.id), delegate(grand)) is Parked.PARKED
    assert books.account(grand.id, USD).cap == 2
    held = books.take(grand.id)
    books.reserve(held, usd=2)
    books.spend(held, usd="1.5", ending=COMPLETED)
    assert books.standing(born.id, USD) == (0, 0, Decimal("1.5"))
    books.tell_parent(grand.id)
    books.spend(books.take(born.id), ending=COMPLETED)
    assert books.standing(top, USD) == (0, 0, Decimal("1.5"))


def test_a_child_that_never_ran_gives_its_loan_back(books: Bookkeeper) -> None:
    born, grand = child(call(1)), child()
    top = books.bear_with(born, usd=8)
    books.park(books.take(born.id), delegate(grand))
    books.cancel(born.id)
    assert books.job(grand.id).status is JobStatus.CANCELLED
    while books.settle_rest():
        pass
    assert books.standing(top, USD) == (0, 0, 0)


def test_a_child_has_no_more_time_than_its_parent(books: Bookkeeper) -> None:
    parent_id = books.endow(books.put_down([call(1)]), seconds=100)
    books.set_back("jobs", "created_at", 40, id=parent_id)
    born, hurried = child(), bounded_child(seconds=5)
    books.park(books.take(parent_id), delegate(born, hurried))
    cap = books.account(born.id, SECONDS).cap
    assert cap is not None
    assert 30 < cap <= 60
    assert books.account(hurried.id, SECONDS).cap == 5


def test_nobody_can_write_a_loan_that_is_smaller_than_the_cap(books: Bookkeeper) -> None:
    born = child()
    books.bear_with(born, usd=1)
    with pytest.raises(IntegrityError, match="loan_is_the_cap"):
        write(books, "update stepwell.budgets set cap = cap + 1 where owner_id = :job", job=born.id)


def test_nobody_can_write_an_entry_that_does_not_add_up(books: Bookkeeper) -> None:
    held = books.take(books.put_down_with(usd=1))
    books.reserve(held, usd="0.5")
    for change in ("spent = 0.1", "settled_at = now(), spent = 0.1", "released = 0.5"):
        with pytest.raises(IntegrityError, match="budget_conserved"):
            write(books, f"update stepwell.budget_entries set {change}")


def write(books: Bookkeeper, statement: str, **given: object) -> None:
    with books.doors.as_operator("test") as tx:
        tx.execute(text(statement), given)


# --- raised ---------------------------------------------------------------------------------------


def test_a_raised_cap_lets_the_step_go_on(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    assert isinstance(books.reserve(held, usd=2), Shortfall)
    assert books.raise_cap(job_id, USD, 1) is Raised.RAISED
    assert books.reserve(held, usd=2) is Reserved.RESERVED


def test_what_has_no_cap_cannot_be_raised(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    assert books.raise_cap(job_id, TOKENS, 1) is Raised.MISSING
    assert books.raise_cap(job_id, USD, 1, TREE) is Raised.MISSING


def test_a_child_is_raised_out_of_what_its_parent_has_left(books: Bookkeeper) -> None:
    born = child()
    parent_id = books.bear_with(born, usd=1)
    assert books.raise_cap(born.id, USD, "0.6") is Raised.PARENT
    assert books.raise_cap(born.id, USD, "0.4") is Raised.RAISED
    assert books.account(born.id, USD).cap == Decimal("0.9")
    assert books.standing(parent_id, USD) == (0, Decimal("0.9"), 0)
    assert books.raise_cap(parent_id, USD, 1) is Raised.RAISED
    assert books.raise_cap(born.id, USD, "0.6") is Raised.RAISED


# --- copies ---------------------------------------------------------------------------------------


def test_a_replay_goes_on_with_what_is_left_and_with_a_cap_that_was_raised(
    books: Bookkeeper,
) -> None:
    job_id = books.endow(books.put_down_with(usd=1, seconds=600), TREE, usd=2)
    held = books.take(job_id)
    books.reserve(held, usd="0.9")
    books.spend(held, usd="0.8", plan=(MODEL,))
    held = books.take(job_id, 2)
    assert isinstance(books.reserve(held, usd="0.3"), Shortfall)
    books.fail(held)
    assert books.raise_cap(job_id, USD, "0.2") is Raised.RAISED

    made, new_id = books.replay(job_id)
    assert made is Replayed.MADE
    assert books.standing(new_id, USD) == (0, 0, Decimal("0.8"))
    assert books.account(new_id, USD).cap == Decimal("1.2")
    assert books.account(new_id, USD, TREE).left == Decimal("1.2")
    again = books.take(new_id, 2)
    assert isinstance(books.reserve(again, usd="0.41"), Shortfall)
    assert books.reserve(again, usd="0.4") is Reserved.RESERVED
    books.spend(again, usd="0.4", ending=COMPLETED)
    assert books.account(new_id, USD).left == 0


def test_a_fork_has_the_caps_and_has_spent_nothing(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    books.reserve(held, usd=1)
    books.spend(held, usd=1, ending=COMPLETED)
    _, new_id = books.fork(job_id, 1)
    assert books.account(new_id, USD).left == 1
    assert books.take(new_id).is_budgeted


# --- forgotten ------------------------------------------------------------------------------------


def test_what_forgotten_jobs_spent_is_kept_in_the_sums(books: Bookkeeper) -> None:
    books.cap_tenant(usd=10)
    books.cap_tenant(DAY, usd=10)
    kept, gone = books.put_down_with(usd=1), books.put_down_with(usd=1)
    for job_id in (kept, gone):
        held = books.take(job_id)
        books.reserve(held, usd=1)
        books.spend(held, usd="0.25", ending=COMPLETED)
    books.set_back("jobs", "finished_at", 1000, id=gone)
    with books.doors.as_operator("test") as tx:
        assert due.retire_jobs(tx, kept_s=500, letters_kept_s=500, limit=10) == 1
    assert books.entries(gone)
    with books.doors.as_operator("test") as tx:
        assert budgets.forget(tx, kept_s=-1, limit=10) == 3
    assert not books.entries(gone)
    assert books.entries(kept)
    assert books.standing(books.tenant_id, USD, TENANT) == (0, 0, Decimal("0.5"))


# --- at once --------------------------------------------------------------------------------------


def test_many_steps_at_once_never_reserve_more_than_the_cap(books: Bookkeeper) -> None:
    books.cap_tenant(usd="1.00")
    helds = [books.take(books.put_down()) for _ in range(16)]
    found = at_once([partial(books.reserve, held, usd="0.15") for held in helds])
    granted = [held for held, each in zip(helds, found, strict=True) if each is Reserved.RESERVED]
    assert len(granted) == 6
    assert books.standing(books.tenant_id, USD, TENANT)[0] == Decimal("0.90")
    settled = at_once([partial(books.spend, held, usd="0.1", plan=(MODEL,)) for held in granted])
    assert None not in settled
    assert books.standing(books.tenant_id, USD, TENANT) == (0, 0, Decimal("0.6"))


def test_a_step_and_the_scheduler_settle_it_once(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    books.reserve(held, usd=1)
    with books.held_by_another("budgets", "owner_id = :job", job=job_id):
        commit = partial(books.spend, held, usd="0.5", ending=COMPLETED)
        writers = [Thread(target=commit)]
        writers += [Thread(target=books.settle_rest) for _ in range(3)]
        for writer in writers:
            writer.start()
        eventually(lambda: waiting(books) >= 1)
    for writer in writers:
        writer.join()
    assert books.states(job_id) == [StepState.COMMITTED]
    assert books.standing(job_id, USD) == (0, 0, Decimal("0.5"))


def waiting(books: Bookkeeper) -> int:
    """How many sessions wait for a lock."""
    with books.doors.as_operator("test") as tx:
        found = tx.execute(text("select count(*) from pg_locks where not granted"))
        return int(found.scalar_one())


def test_parent_and_children_at_once_lock_in_one_order(books: Bookkeeper) -> None:
    """Every kind of move at the same time, again and again: a wrong order would be a deadlock."""
    books.cap_tenant(usd=1000)
    books.cap_tenant(DAY, steps=1000)

    def live() -> None:
        born = [child(), child()]
        parent_id = books.endow(books.put_down([call(1), call(2)]), usd=10)
        books.endow(parent_id, TREE, usd=10, steps=20)
        first, second = books.take(parent_id, 1), books.take(parent_id, 2)
        books.reserve(first, usd=1)
        books.park(first, delegate(*born))

        def end(child_id: UUID) -> None:
            held = books.take(child_id)
            books.reserve(held, usd=1)
            books.spend(held, usd="0.3", ending=COMPLETED)
            books.tell_parent(child_id)

        def call_the_second() -> None:
            books.reserve(second, usd=1)
            books.join(second)

        moves: list[Callable[[], object]] = [partial(end, each.id) for each in born]
        raising = partial(books.raise_cap, born[0].id, USD, 1)
        moves += [call_the_second, raising, books.settle_rest]
        at_once(moves)
        assert books.standing(parent_id, USD)[2] == Decimal("0.6")

    at_once([live, live, live])
    while books.settle_rest():
        pass
    assert books.standing(books.tenant_id, USD, TENANT)[2] == Decimal("1.8")


def test_a_parked_step_keeps_what_it_set_aside_until_it_is_settled(books: Bookkeeper) -> None:
    job_id = books.endow(books.put_down([call(1)]), steps=1)
    held = books.take(job_id)
    books.reserve(held)
    books.park(held, QUESTION)
    assert books.standing(job_id, STEPS) == (1, 0, 0)
    books.answer(job_id, "yes")
    books.commit(books.take(job_id), ending=COMPLETED)
    assert books.standing(job_id, STEPS) == (0, 0, 1)


def test_a_discrepancy_is_found(books: Bookkeeper) -> None:
    job_id = books.put_down_with(usd=1)
    held = books.take(job_id)
    books.reserve(held, usd="0.5")
    write(books, "update stepwell.budgets set reserved = reserved + 0.000000001")
    (found,) = books.discrepancies()
    assert (found.owner_id, found.total) == (job_id, "reserved")
    assert found.kept - found.counted == Decimal("0.000000001")
    write(books, "update stepwell.budgets set reserved = reserved - 0.000000001")

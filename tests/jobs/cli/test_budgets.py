"""Budgets on the command line: asked for, shown, raised; and the operator's caps and books."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from sqlalchemy import text

from store.budgets import Reserved
from store.states import WaitKind
from store.transitions import Wait
from tests.budgeting import TENANT, USD, Bookkeeper
from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.serving import Served


@pytest.fixture
def books(served: Served) -> Bookkeeper:
    return Bookkeeper(served.doors, served.hand.tenant_id)


@pytest.fixture
def as_operator(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who runs the platform."""
    for name, url in database.environment.items():
        monkeypatch.setenv(name, url)


def submit(run: Run, *more: str) -> UUID:
    said = run("submit", "echo", "--input", '{"say": "hi"}', *more)
    assert said.code == 0, said.err
    return UUID(said.out.strip())


def test_a_job_is_bounded_and_shown_with_what_is_left(run: Run, books: Bookkeeper) -> None:
    job_id = submit(run, "--budget-usd", "1.50", "--budget-tokens", "20000")
    assert books.reserve(books.take(job_id), tokens=500, usd="0.25") is Reserved.RESERVED
    for command in (("budget", "show", str(job_id)), ("show", str(job_id))):
        said = run(*command)
        assert said.code == 0
        for expected in ("this job", "1.5", "0.25", "1.25", "20,000", "19,500"):
            assert expected in said.out, (command, expected)
    told = json.loads(run("show", str(job_id), "--json").out)["budget"]
    assert [each["unit"] for each in told] == ["tokens", "usd"]


@pytest.mark.parametrize("amount", ["much", "-1", "nan", "inf", "0.0000000001"])
def test_what_is_no_amount_is_said_before_anything_is_asked(run: Run, amount: str) -> None:
    said = run("submit", "echo", "--input", "{}", "--budget-usd", amount)
    assert said.code == 2
    assert "such as 2.50" in said.err
    assert json.loads(run("jobs", "--json").out) == []


def test_a_job_without_a_cap_says_so(run: Run, served: Served) -> None:
    assert "no cap" in run("budget", "show", str(submit(run))).err
    assert "no cap" in run("budget", "show").err


def test_a_cap_is_raised(run: Run, books: Bookkeeper) -> None:
    job_id = submit(run, "--budget-usd", "1")
    said = run("budget", "raise", str(job_id), "--usd", "5")
    assert said.code == 0
    assert books.account(job_id, USD).cap == 6
    nothing = run("budget", "raise", str(job_id))
    assert (nothing.code, "by how much" in nothing.err) == (2, True)
    missing = run("budget", "raise", str(job_id), "--tokens", "5")
    assert (missing.code, "no cap of tokens" in missing.err) == (2, True)


def test_a_question_about_a_budget_shows_how_to_raise_it(run: Run, books: Bookkeeper) -> None:
    job_id = submit(run, "--budget-tokens", "10")
    short_of = {"scope": "job", "unit": "tokens", "cap": "10"}
    prompt = {"ask": "Raise it?", "decisions": ["continue", "fail"], "budget": short_of}
    books.park(books.take(job_id), Wait(WaitKind.REVIEW, "budget", prompt=prompt))
    said = run("questions")
    assert f"stepwell budget raise {str(job_id)[-8:]} --tokens 100000" in said.out


def test_the_operator_bounds_a_tenant_and_lifts_the_bound(
    run: Run, books: Bookkeeper, as_operator: None
) -> None:
    said = run("budget", "set", "--usd", "500", "--day-usd", "20")
    assert said.code == 0, said.err
    assert "the tenant" in said.out
    assert "today" in said.out
    assert books.account(books.tenant_id, USD, TENANT).cap == 500
    assert run("budget", "set", "--usd", "none").code == 0
    assert books.account(books.tenant_id, USD, TENANT).cap is None
    assert "none" in run("budget", "show").out
    assert run("budget", "set").code == 2


def test_the_books_are_verified_to_the_last_unit(
    run: Run, books: Bookkeeper, as_operator: None
) -> None:
    job_id = submit(run, "--budget-usd", "1")
    books.reserve(books.take(job_id), usd="0.5")
    good = run("budget", "verify")
    assert (good.code, "sum of its ledger" in good.err) == (0, True)
    with books.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.budgets set spent = spent + 0.000000001"))
    bad = run("budget", "verify")
    assert bad.code == 1
    assert "0.000000001" in bad.out
    (told,) = json.loads(run("budget", "verify", "--json").out)
    assert (told["owner_id"], told["total"], told["counted"]) == (str(job_id), "spent", "0")


def test_without_a_database_the_operator_is_told_so(
    nowhere: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEPWELL_DATABASE_URL", raising=False)
    monkeypatch.delenv("STEPWELL_OPERATOR_DATABASE_URL", raising=False)
    said = nowhere("budget", "verify")
    assert said.code != 0
    assert "No database is named" in said.err

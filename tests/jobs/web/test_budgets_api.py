"""Budgets over HTTP: asked for, shown to the last unit, and raised."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from store.states import JobStatus, WaitKind
from store.transitions import Wait
from tests.budgeting import TENANT, USD, Bookkeeper
from tests.jobs.serving import Served
from tests.stepping import child

BUDGET_WAIT = Wait(
    WaitKind.REVIEW, "budget", prompt={"ask": "Raise it?", "decisions": ["continue", "fail"]}
)


@pytest.fixture
def books(served: Served) -> Bookkeeper:
    return Bookkeeper(served.doors, served.hand.tenant_id)


def submit(http: httpx.Client, **more: Any) -> httpx.Response:
    return http.post("/v1/jobs", json={"agent": "echo", "input": {"say": "hi"}} | more)


def test_a_submission_may_be_bounded(http: httpx.Client) -> None:
    job = submit(http, budget_usd="2.50", budget_tokens=1000).json()
    found = http.get(job["links"]["budget"]).json()["data"]
    assert [(each["scope"], each["unit"], each["cap"]) for each in found] == [
        ("job", "tokens", "1000"),
        ("job", "usd", "2.5"),
    ]
    assert {each["left"] for each in found} == {"1000", "2.5"}


@pytest.mark.parametrize("usd", ["-1", "0", "nan", "0.0000000001", "much", 1e30])
def test_what_is_no_amount_is_refused(http: httpx.Client, usd: Any) -> None:
    sent = '{"agent": "echo", "input": {}, "budget_usd": %s}' % (
        f'"{usd}"' if isinstance(usd, str) else usd
    )
    answer = http.post("/v1/jobs", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_a_job_without_a_cap_has_no_accounts(http: httpx.Client) -> None:
    job_id = submit(http).json()["id"]
    assert http.get(f"/v1/jobs/{job_id}/budget").json()["data"] == []
    assert http.get(f"/v1/jobs/{uuid4()}/budget").status_code == 404


def test_an_account_is_told_to_the_last_unit(http: httpx.Client, books: Bookkeeper) -> None:
    job_id = UUID(submit(http, budget_usd="1").json()["id"])
    books.reserve(books.take(job_id), usd="0.123456789")
    (found,) = http.get(f"/v1/jobs/{job_id}/budget").json()["data"]
    assert found == {
        "object": "budget",
        "scope": "job",
        "day": None,
        "unit": "usd",
        "cap": "1",
        "spent": "0",
        "reserved": "0.123456789",
        "lent": "0",
        "left": "0.876543211",
    }


def test_a_raise_wakes_the_step_that_waits_for_it(http: httpx.Client, books: Bookkeeper) -> None:
    job_id = UUID(submit(http, budget_usd="1").json()["id"])
    books.park(books.take(job_id), BUDGET_WAIT)
    assert books.job(job_id).status is JobStatus.INPUT_REQUIRED
    answer = http.post(f"/v1/jobs/{job_id}/budget/raise", json={"usd": "0.5"})
    assert answer.status_code == 200
    assert answer.json()["data"][0]["cap"] == "1.5"
    woken = books.take(job_id).woken
    assert woken is not None
    assert woken.result == {"decision": "continue"}


def test_what_cannot_be_raised_changes_nothing(http: httpx.Client, books: Bookkeeper) -> None:
    job_id = UUID(submit(http, budget_usd="1").json()["id"])
    books.park(books.take(job_id), BUDGET_WAIT)
    path = f"/v1/jobs/{job_id}/budget/raise"
    refused = http.post(path, json={"usd": "1", "tokens": 5})
    assert refused.status_code == 422
    assert "no cap of tokens" in refused.json()["detail"]
    assert http.post(path, json={}).status_code == 422
    assert http.post(path, json={"usd": "-1"}).status_code == 422
    assert books.account(job_id, USD).cap == 1
    assert books.job(job_id).status is JobStatus.INPUT_REQUIRED


def test_a_child_is_raised_no_further_than_its_parent_can_lend(
    http: httpx.Client, books: Bookkeeper
) -> None:
    born = child()
    books.bear_with(born, usd=1)
    refused = http.post(f"/v1/jobs/{born.id}/budget/raise", json={"usd": "5"})
    assert refused.status_code == 422
    assert "too few usd left to lend" in refused.json()["detail"]


def test_the_tenants_caps_are_shown_and_set_by_nobody(
    http: httpx.Client, books: Bookkeeper
) -> None:
    assert http.get("/v1/budget").json()["data"] == []
    books.cap_tenant(TENANT, usd="7.5")
    (found,) = http.get("/v1/budget").json()["data"]
    assert (found["scope"], Decimal(found["cap"])) == ("tenant", Decimal("7.5"))
    assert http.post("/v1/budget", json={"usd": "100"}).status_code == 405

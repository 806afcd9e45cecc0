"""Refusals over HTTP: a problem that says why, a Retry-After that is true, a client that knows."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from jobs.client import Overloaded, Refused
from tests.jobs.serving import Served

ASKED = {"agent": "echo", "input": {}, "deadline_s": 20}


@pytest.fixture
def full(served: Served) -> Served:
    """A platform on which 100 steps of the tenant wait, of which two start every second."""
    with served.doors.as_operator("test") as tx:
        tx.execute(
            text(
                "update stepwell.census set waiting = 100, started_per_s = 2, weights = 1, "
                "tenants = 1 where job_class = 'default'"
            )
        )
        tx.execute(
            text(
                "insert into stepwell.tenant_census (tenant_id, job_class, waiting) "
                "values (:tenant, 'default', 100)"
            ),
            {"tenant": served.hand.tenant_id},
        )
        tx.execute(
            text("update stepwell.load set measured_at = clock_timestamp(), slots_waits = 8")
        )
    return served


def test_an_overloaded_platform_says_why_and_when_to_come_back(
    full: Served, http: httpx.Client
) -> None:
    before = full.row_counts()
    answer = http.post("/v1/jobs", json=ASKED)
    problem = answer.json()
    assert answer.status_code == 503
    assert problem["type"].endswith("#temporary-reduced-capacity")
    assert problem["code"] == "temporary-reduced-capacity"
    assert "deadline of 20 s" in problem["detail"]
    assert 34 <= problem["retry_after_s"] <= 43
    assert int(answer.headers["Retry-After"]) - problem["retry_after_s"] < 1.1
    assert full.row_counts() == before


def test_each_who_is_refused_is_told_a_time_of_its_own(full: Served, http: httpx.Client) -> None:
    told = {http.post("/v1/jobs", json=ASKED).json()["retry_after_s"] for _ in range(8)}
    assert len(told) > 4
    (refusals,) = http.get("/v1/queues").json()["refusals"]
    assert refusals == {"class": "default", "code": "deadline", "count": 8}


def test_a_tenant_over_its_quota_is_told_so(full: Served, http: httpx.Client) -> None:
    with full.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.tenants set waiting_max = 50"))
    answer = http.post("/v1/jobs", json={"agent": "echo", "input": {}})
    assert (answer.status_code, answer.json()["code"]) == (429, "quota-exceeded")
    assert answer.json()["type"].endswith("#quota-exceeded")
    assert int(answer.headers["Retry-After"]) >= 25


def test_what_has_time_is_taken_on(full: Served, http: httpx.Client) -> None:
    assert http.post("/v1/jobs", json=ASKED | {"deadline_s": 600}).status_code == 202


def test_looks_cancels_and_signals_are_never_refused(full: Served, http: httpx.Client) -> None:
    job_id = http.post("/v1/jobs", json=ASKED | {"deadline_s": 600}).json()["id"]
    with full.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.census set waiting = 1000000"))
        tx.execute(text("update stepwell.load set level = 3"))
    assert http.post("/v1/jobs", json=ASKED).status_code == 503
    assert http.get(f"/v1/jobs/{job_id}").status_code == 200
    signal = {"name": "paid", "data": None}
    assert http.post(f"/v1/jobs/{job_id}/signals", json=signal).status_code < 300
    assert http.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"


def test_the_client_raises_an_error_of_its_own_with_the_time(full: Served) -> None:
    with full.client as client, pytest.raises(Overloaded, match="Nothing was created") as refused:
        client.submit("echo", {}, deadline_s=20)
    assert 34 <= refused.value.retry_after_s <= 44
    assert isinstance(refused.value, Refused)
    assert refused.value.status == 503

"""Approvals over HTTP: a call is shown to the letter, and decided about as it was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from store.states import StepState
from tests.asking import asking, for_finance, sha256
from tests.conftest import Database
from tests.jobs.gating import AGENTS, asker_of, waiting
from tests.jobs.serving import Served, serve

ARGS = {"amount": 500}


@pytest.fixture
def served(
    database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setenv("TEST_LEDGER", str(tmp_path / "ledger"))
    with serve(database, redis_url, tmp_path, agents=AGENTS) as api:
        yield api


def decide(
    http: httpx.Client, job_id: UUID, decision: str, args: Any = None, n: int = 1, **said: Any
) -> httpx.Response:
    """Say something about the call that was shown with these arguments."""
    shown = {"n": n, "args_sha256": sha256(ARGS if args is None else args)}
    path = f"/v1/jobs/{job_id}/steps/2/decision"
    return http.post(path, json={**shown, "decision": decision, **said})


def test_a_call_is_listed_with_all_that_one_decides_by(served: Served, http: httpx.Client) -> None:
    job_id = waiting(served)
    (asked,) = http.get("/v1/approvals").json()["data"]
    assert (asked["job_id"], asked["seq"], asked["n"]) == (str(job_id), 2, 1)
    assert (asked["tool"], asked["args"], asked["args_sha256"]) == ("refund", ARGS, sha256(ARGS))
    assert (asked["tier"], asked["role"], asked["quorum"]) == ("confirm", None, 1)
    assert (asked["reasons"], asked["rules"]) == (["More than 100."], ["refund.large"])
    assert (asked["state"], asked["fallback"], asked["decisions"]) == ("pending", "reject", [])
    assert asked["expires_at"] is not None
    assert asked["links"]["decide"] == f"/v1/jobs/{job_id}/steps/2/decision"
    job = http.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["waiting_for"]) == ("input_required", "approval")
    waits = http.get(f"/v1/jobs/{job_id}/waits").json()["data"]
    assert [wait["kind"] for wait in waits] == ["approval"]
    assert http.get("/v1/questions").json()["data"] == []


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"decision": "approve"}, "granted"),
        ({"decision": "approve", "remember": True}, "granted"),
        ({"decision": "reject", "reason": "Not ours."}, "rejected"),
        ({"decision": "respond", "answer": {"id": 7}}, "answered"),
        ({"decision": "respond", "answer": None}, "answered"),
    ],
)
def test_the_operator_decides_about_what_has_to_be_confirmed(
    served: Served, http: httpx.Client, said: dict[str, Any], state: str
) -> None:
    job_id = waiting(served)
    found = decide(http, job_id, **said)
    assert found.status_code == 200, found.text
    told = found.json()
    assert (told["state"], told["ending"]) == (state, "decided")
    assert [each["by"] for each in told["decisions"]] == ["operator"]
    assert asker_of(served).states(job_id)[1] is StepState.READY
    assert http.get("/v1/approvals").json()["data"] == []
    again = decide(http, job_id, "approve")
    assert (again.status_code, again.json()["code"]) == (409, "closed")


def test_an_edit_is_judged_anew(served: Served, http: httpx.Client) -> None:
    job_id = waiting(served)
    path = f"/v1/jobs/{job_id}/steps/2/decision"
    shown = {"n": 1, "args_sha256": sha256(ARGS), "decision": "edit"}
    unfit = http.post(path, json={**shown, "args": {"amount": "many"}})
    denied = http.post(path, json={**shown, "args": {"amount": 2_000_000}})
    assert (unfit.status_code, denied.status_code) == (422, 422)
    assert "do not fit" in unfit.json()["detail"]
    assert "Nobody refunds that much" in denied.json()["detail"]
    huge = http.post(path, json={**shown, "args": {"amount": 5_000}}).json()
    assert (huge["n"], huge["state"], huge["tier"], huge["quorum"]) == (2, "pending", "approve", 2)
    stale = decide(http, job_id, "approve")
    assert (stale.status_code, "question 2" in stale.json()["detail"]) == (409, True)
    assert [each["state"] for each in all_of(http, job_id)] == ["edited", "pending"]


def test_an_edit_that_needs_no_more_is_granted_with_it(served: Served, http: httpx.Client) -> None:
    job_id = waiting(served)
    path = f"/v1/jobs/{job_id}/steps/2/decision"
    shown = {"n": 1, "args_sha256": sha256(ARGS), "decision": "edit"}
    found = http.post(path, json={**shown, "args": {"amount": 300}}).json()
    assert (found["n"], found["state"], found["args"]) == (2, "granted", {"amount": 300})


def test_whoever_may_not_decide_is_told_who_may(served: Served, http: httpx.Client) -> None:
    job_id = waiting(served, for_finance(ARGS))
    found = decide(http, job_id, "approve")
    assert (found.status_code, found.json()["code"]) == (403, "not-yours")
    assert "'finance'" in found.json()["detail"]
    assert asker_of(served).decisions(job_id) == []


def test_what_was_not_shown_is_not_decided(served: Served, http: httpx.Client) -> None:
    job_id = waiting(served)
    assert decide(http, job_id, "approve", args={"amount": 1}).status_code == 409
    assert decide(http, job_id, "approve", n=2).status_code == 404
    assert decide(http, uuid4(), "approve").status_code == 404
    for said in (
        {"decision": "approve", "answer": 1},
        {"decision": "respond"},
        {"decision": "edit"},
        {"decision": "reject", "remember": True},
        {"decision": "perhaps"},
    ):
        assert decide(http, job_id, **said).status_code == 422, said
    assert asker_of(served).states(job_id)[1] is StepState.WAITING


def test_the_audit_is_read_from_its_end(served: Served, http: httpx.Client) -> None:
    jobs = [str(waiting(served)) for _ in range(2)]
    for job_id in jobs:
        decide(http, UUID(job_id), "reject")
    page = http.get("/v1/audit", params={"limit": 3}).json()
    assert ([line["n"] for line in page["data"]], page["has_more"]) == ([4, 3, 2], True)
    assert [line["job_id"] for line in page["data"]] == [jobs[1], jobs[1], jobs[0]]
    assert page["data"][0]["sha256"] == http.get("/v1/audit/verification").json()["sha256"]
    rest = http.get("/v1/audit", params={"before": 2}).json()
    assert ([line["n"] for line in rest["data"]], rest["has_more"]) == ([1], False)
    mine = http.get("/v1/audit", params={"job_id": jobs[0]}).json()["data"]
    assert [(line["n"], line["job_id"]) for line in mine] == [(2, jobs[0]), (1, jobs[0])]
    assert "amount" not in str(mine), "of arguments it has the hashes"


def test_the_audit_is_walked_and_a_change_is_found(served: Served, http: httpx.Client) -> None:
    whole = http.get("/v1/audit/verification").json()
    assert (whole["is_whole"], whole["lines"]) == (True, 0)
    decide(http, waiting(served), "reject")
    whole = http.get("/v1/audit/verification").json()
    assert (whole["is_whole"], whole["lines"], whole["why"]) == (True, 2, None)
    with psycopg.connect(served.admin_url) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("update stepwell.audit set content = '{}' where n = 1")
    broken = http.get("/v1/audit/verification").json()
    assert (broken["is_whole"], broken["broken_at"]) == (False, 1)


def all_of(http: httpx.Client, job_id: UUID) -> list[dict[str, Any]]:
    return list(http.get(f"/v1/jobs/{job_id}/approvals").json()["data"])


def test_calls_are_listed_oldest_first_and_of_one_job(served: Served, http: httpx.Client) -> None:
    ids = [str(waiting(served, asking({"amount": 500 + n}))) for n in range(3)]
    page = http.get("/v1/approvals", params={"limit": 2}).json()
    assert ([each["job_id"] for each in page["data"]], page["has_more"]) == (ids[:2], True)
    (only,) = http.get("/v1/approvals", params={"job_id": ids[2]}).json()["data"]
    assert only["args"] == {"amount": 502}

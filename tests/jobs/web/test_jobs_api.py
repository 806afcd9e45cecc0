"""Jobs over HTTP: accepted once, told in one shape, refused without a trace."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from store.states import JobStatus, StepKind, StepState, Work
from store.transitions import Ending, Plan, Usage
from tests.jobs.serving import Served
from tests.stepping import MODEL, Stepper

ECHO = {"agent": "echo", "input": {"say": "hi"}}


def ask(http: httpx.Client, body: Any = ECHO, **headers: str) -> httpx.Response:
    return http.post("/v1/jobs", json=body, headers=headers)


def test_a_job_is_accepted_and_told_where_it_is(served: Served, http: httpx.Client) -> None:
    answer = ask(http)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["status"], job["class"]) == ("job", "queued", "default")
    assert job["input"] == {"say": "hi"}
    assert served.row_counts()["jobs"] == 1


def test_a_job_has_one_shape_wherever_it_appears(served: Served, http: httpx.Client) -> None:
    created = ask(http).json()
    read = http.get(created["links"]["self"]).json()
    (listed,) = http.get("/v1/jobs").json()["data"]
    cancelled = http.post(created["links"]["cancel"]).json()
    assert created == read == listed
    assert cancelled.keys() == read.keys()
    assert cancelled["status"] == "cancelled"


def test_the_same_key_returns_the_same_job(served: Served, http: httpx.Client) -> None:
    first = ask(http, **{"Idempotency-Key": "k"})
    again = ask(http, **{"Idempotency-Key": '"k"'})
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.status_code == 202
    assert served.row_counts()["jobs"] == 1


def test_the_same_key_with_another_request_is_refused(served: Served, http: httpx.Client) -> None:
    ask(http, **{"Idempotency-Key": "k"})
    answer = ask(http, {**ECHO, "input": {"say": "bye"}}, **{"Idempotency-Key": "k"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency-mismatch"
    assert served.row_counts()["jobs"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"agent": "ecko", "input": {}}, 404, "unknown-agent", "Did you mean 'echo'"),
        ({**ECHO, "model": "nonsense"}, 422, "unknown-model", "echo"),
        (
            {"agent": "analyst", "input": {"dataset": "0" * 32}, "model": "nope:x"},
            422,
            "unknown-model",
            "nope",
        ),
        ({"agent": "writer", "input": {}}, 422, "invalid-input", "email"),
        ({"agent": "writer", "input": {"email": "me"}}, 422, "invalid-input", "email"),
        (
            {"agent": "writer", "input": {"email": "a@b.co\r\nBcc: c@d.co"}},
            422,
            "invalid-input",
            "email",
        ),
        (
            {"agent": "analyst", "input": {"dataset": "0" * 32, "email": "a@b.co\nBcc: c@d.co"}},
            422,
            "invalid-input",
            "email",
        ),
        ({"agent": "echo"}, 422, "invalid-request", "input"),
        ({**ECHO, "class": "urgent"}, 422, "invalid-request", "class"),
        ({**ECHO, "clas": "batch"}, 422, "invalid-request", "clas"),
        ({**ECHO, "input": ["a"]}, 422, "invalid-request", "input"),
        ({**ECHO, "input": {"a": "\0"}}, 422, "invalid-input", "NUL"),
        ([], 422, "invalid-request", "body"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_created(
    lasting: Served, body: Any, status: int, code: str, said: str
) -> None:
    before = lasting.row_counts()
    answer = ask(lasting.http, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in problem["detail"]
    assert lasting.row_counts() == before


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"agent":"echo","input":{"n":NaN}}', "not finite"),
        ('{"agent":"echo","input":{"n":1e999}}', "not finite"),
        ('{"agent":"echo","input":{"s":"\\ud800"}}', "half of a character"),
        ('{"agent":"echo","input":' + '{"a":' * 60 + "1" + "}" * 60 + "}", "levels deep"),
        ('{"agent":', "not JSON"),
        ("", "body"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(lasting: Served, raw: str, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = lasting.http.post("/v1/jobs", content=raw, headers=headers)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert lasting.row_counts()["jobs"] == 0


def test_nesting_without_an_end_is_refused_and_not_a_fault(lasting: Served) -> None:
    headers = {"Content-Type": "application/json"}
    answer = lasting.http.post("/v1/jobs", content="[" * 100_000, headers=headers)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("key", ["", '""', "k" * 201, "a\tb", "é"])
def test_a_key_that_is_none_is_refused(lasting: Served, key: str) -> None:
    answer = ask(lasting.http, **{"Idempotency-Key": key.encode("latin-1")})  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]
    assert lasting.row_counts()["jobs"] == 0


def test_a_dry_run_says_what_would_happen_and_creates_nothing(
    served: Served, http: httpx.Client
) -> None:
    fine = http.post("/v1/jobs?dry_run=true", json=ECHO)
    refused = http.post("/v1/jobs?dry_run=true", json={**ECHO, "model": "nonsense"})
    assert fine.status_code == 200
    assert fine.json()["input"] == ECHO["input"]
    assert refused.json()["code"] == "unknown-model"
    assert served.row_counts()["jobs"] == 0


def test_jobs_are_listed_newest_first_page_by_page(served: Served, http: httpx.Client) -> None:
    asked = [ask(http).json()["id"] for _ in range(5)]
    first = http.get("/v1/jobs", params={"limit": 3}).json()
    assert first["has_more"]
    before = first["data"][-1]["id"]
    rest = http.get("/v1/jobs", params={"limit": 3, "before": before}).json()
    assert not rest["has_more"]
    assert [job["id"] for job in first["data"] + rest["data"]] == asked[::-1]


def test_jobs_are_filtered_by_status_and_agent(served: Served, http: httpx.Client) -> None:
    echo = ask(http).json()
    ask(http, {"agent": "writer", "input": {"email": "a@example.com"}})
    http.post(echo["links"]["cancel"])
    cancelled = http.get("/v1/jobs", params={"status": "cancelled"}).json()["data"]
    written = http.get("/v1/jobs", params={"agent": "writer"}).json()["data"]
    assert [job["agent"] for job in cancelled] == ["echo"]
    assert [job["agent"] for job in written] == ["writer"]


def test_a_finished_job_tells_its_steps_output_and_usage(
    served: Served, http: httpx.Client
) -> None:
    job = ask(http).json()
    hand = served.hand
    held = hand.take(UUID(job["id"]), 1, hand.start_worker())
    hand.commit(
        held,
        output={"done": 1},
        usage=Usage("test", 1, 10, 5, "0.25"),
        ending=Ending(JobStatus.COMPLETED, output={"answer": 42}),
    )
    told = http.get(job["links"]["self"]).json()
    (step,) = http.get(job["links"]["steps"]).json()["data"]
    assert (told["status"], told["output"], told["steps_done"]) == ("completed", {"answer": 42}, 1)
    assert told["usage"] == {
        "requests": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": 0.25,
    }
    assert (step["seq"], step["state"], step["tries"]) == (1, "committed", 1)
    assert step["output"] == {"done": 1}
    assert step["duration_ms"] >= 0


def test_a_job_tells_how_often_its_whole_line_had_to_try(
    served: Served, http: httpx.Client
) -> None:
    job = ask(http).json()
    hand, worker, job_id = served.hand, served.hand.start_worker(), UUID(job["id"])
    assert http.get(job["links"]["self"]).json()["amplification"] is None
    for _ in range(2):
        hand.release(hand.take(job_id, 1, worker))
    assert http.get(job["links"]["self"]).json()["amplification"] == 2
    follow = Plan(StepKind.MODEL, "model", Work.WAITS)
    hand.commit(hand.take(job_id, 1, worker), plan=(follow,))
    hand.commit(hand.take(job_id, 2, worker), ending=Ending(JobStatus.COMPLETED, output=1))
    # Two that failed and one that did not, and another step that was tried once.
    assert http.get(job["links"]["self"]).json()["amplification"] == 2
    (listed,) = http.get("/v1/jobs").json()["data"]
    assert listed["amplification"] == 2


def test_a_failed_job_tells_its_error(served: Served, http: httpx.Client) -> None:
    job = ask(http).json()
    hand = served.hand
    error = {"class": "bug", "message": "it broke", "hint": "mend it"}
    hand.commit(
        hand.take(UUID(job["id"]), 1, hand.start_worker()),
        state=StepState.FAILED,
        error=error,
        ending=Ending(JobStatus.FAILED, error=error, reason="bug"),
    )
    assert http.get(job["links"]["self"]).json()["error"] == error


def test_steps_come_in_pages(served: Served, http: httpx.Client) -> None:
    job_id = served.hand.put_down([MODEL] * 5)
    first = http.get(f"/v1/jobs/{job_id}/steps", params={"limit": 3}).json()
    rest = http.get(f"/v1/jobs/{job_id}/steps", params={"limit": 3, "after": 3}).json()
    assert [step["seq"] for step in first["data"]] == [1, 2, 3]
    assert first["has_more"]
    assert [step["seq"] for step in rest["data"]] == [4, 5]
    assert not rest["has_more"]


@pytest.mark.parametrize("path", ["", "/steps", "/events", "/artifacts"])
def test_a_job_nobody_has_is_not_found(lasting: Served, path: str) -> None:
    answer = lasting.http.get(f"/v1/jobs/00000000-0000-4000-8000-00000000abcd{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_the_job_of_another_tenant_is_not_found(
    served: Served, http: httpx.Client, other_tenant: Any
) -> None:
    theirs = Stepper(served.doors, other_tenant).put_down()
    for path in ("", "/steps", "/events", "/artifacts"):
        assert http.get(f"/v1/jobs/{theirs}{path}").status_code == 404
    assert http.post(f"/v1/jobs/{theirs}/cancel").status_code == 404
    assert http.get("/v1/jobs").json()["data"] == []


def test_cancelling_what_has_ended_changes_nothing(served: Served, http: httpx.Client) -> None:
    job = ask(http).json()
    first = http.post(job["links"]["cancel"]).json()
    again = http.post(job["links"]["cancel"]).json()
    assert first == again


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "status=done", "agent=%00", "before=x", "agent="]
)
def test_a_question_that_makes_no_sense_is_refused(lasting: Served, query: str) -> None:
    answer = lasting.http.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"]

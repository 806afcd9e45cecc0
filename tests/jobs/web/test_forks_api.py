"""Forks and children over HTTP: what is shared, what runs again, and whose job a job is."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from jobs.agent.agent import Agent
from store.states import JobStatus, StepState
from store.transitions import Ending
from tests.jobs.parking import advance, bear, submit, take
from tests.jobs.serving import Letter, Served, serve


def fork(http: httpx.Client, job_id: UUID, from_step: int, **more: Any) -> httpx.Response:
    return http.post(f"/v1/jobs/{job_id}/fork", json={"from_step": from_step, **more})


def grown(served: Served) -> UUID:
    """A job that did two steps and is at its third."""
    job_id = submit(served)
    advance(served, job_id, 1)
    advance(served, job_id, 2)
    return job_id


def test_a_fork_shares_what_was_done_and_runs_the_rest_again(
    served: Served, http: httpx.Client
) -> None:
    old = grown(served)
    told = fork(http, old, 2)
    made = told.json()
    assert told.status_code == 202, made
    assert told.headers["Location"] == made["links"]["self"]
    assert (made["forked_from"], made["forked_from_seq"]) == (str(old), 2)
    assert (made["status"], made["steps_done"], made["outstanding"]) == ("queued", 1, 1)
    steps = http.get(made["links"]["steps"]).json()["data"]
    assert [(step["seq"], step["state"]) for step in steps] == [(1, "committed"), (2, "ready")]
    assert steps[0]["output"] == {"done": 1}
    assert steps[1]["effect_key"] == f"{made['id']}:2", "what runs again is a new call"
    assert served.hand.states(old) == [StepState.COMMITTED, StepState.COMMITTED, StepState.READY]


def test_a_fork_may_have_another_input_and_class(served: Served, http: httpx.Client) -> None:
    old = grown(served)
    made = fork(http, old, 2, input={"say": "bye"}, **{"class": "interactive"}).json()
    assert (made["input"], made["class"]) == ({"say": "bye"}, "interactive")
    kept = fork(http, old, 2).json()
    assert (kept["input"], kept["class"]) == ({"say": "hi"}, "default")


@pytest.mark.parametrize(
    ("from_step", "words"), [(4, "no step 4; its last is step 3"), (900, "no step 900")]
)
def test_a_fork_from_no_step_is_refused(
    served: Served, http: httpx.Client, from_step: int, words: str
) -> None:
    old = grown(served)
    told = fork(http, old, from_step)
    assert (told.status_code, told.json()["code"]) == (422, "does-not-fit")
    assert words in told.json()["detail"]
    assert served.row_counts()["jobs"] == 1


def test_a_fork_behind_what_is_not_done_is_refused(served: Served, http: httpx.Client) -> None:
    old = served.hand.put_down()
    steps = submit(served)
    held = take(served, steps)
    served.hand.release(held)
    told = fork(http, steps, 2)
    assert told.status_code == 422
    unknown = fork(http, old, 1)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-agent")


def test_a_step_that_was_not_done_is_named(served: Served, http: httpx.Client) -> None:
    from store.states import StepKind, Work
    from store.transitions import Plan

    job_id = submit(served)
    calls = [Plan(StepKind.TOOL, "t", Work.WAITS, {"n": n}) for n in range(2)]
    advance(served, job_id, 1, *calls)
    told = fork(http, job_id, 3)
    assert told.status_code == 422
    assert "step 2 before it was not done, it is ready" in told.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from_step": 0},
        {"from_step": 2**31},
        {"from_step": 2, "input": []},
        {"from_step": 2, "class": "urgent"},
        {"from_step": 2, "form": 1},
    ],
)
def test_a_fork_that_makes_no_sense_is_refused(lasting: Served, body: dict[str, Any]) -> None:
    told = lasting.http.post(f"/v1/jobs/{uuid4()}/fork", json=body)
    assert (told.status_code, told.json()["code"]) == (422, "invalid-request")


def test_the_input_of_a_fork_is_checked_like_a_submission(
    served: Served, http: httpx.Client
) -> None:
    job_id = submit(served, "writer", email="a@example.com")
    advance(served, job_id, 1)
    told = fork(http, job_id, 2, input={"email": "nobody"})
    assert (told.status_code, told.json()["code"]) == (422, "invalid-input")
    made = fork(http, job_id, 2, input={"email": "b@example.com"})
    assert made.json()["input"] == {"email": "b@example.com", "ask": "hello"}


def test_an_input_that_no_longer_fits_is_said_before_anything_is_made(
    served: Served, http: httpx.Client, database: Any, redis_url: str, tmp_path: Any
) -> None:
    job_id = submit(served, "writer", email="a@example.com")
    advance(served, job_id, 1)

    class Stricter(Letter):
        subject: str

    changed = Agent(name="writer", model="offline", instructions="Write.", input_type=Stricter)
    with serve(database, redis_url, tmp_path, agents=[changed]) as later, later.http as asked:
        told = fork(asked, job_id, 2)
        assert (told.status_code, told.json()["code"]) == (422, "invalid-input")
        assert later.row_counts()["jobs"] == 1
        made = fork(asked, job_id, 2, input={"email": "a@example.com", "subject": "s"})
        assert made.json()["agent_version"] == changed.version


def test_a_fork_without_an_input_keeps_the_old_one_to_the_letter(
    served: Served, database: Any, redis_url: str, tmp_path: Any
) -> None:
    job_id = submit(served, "writer", email="a@example.com")
    advance(served, job_id, 1)

    class Longer(Letter):
        subject: str = "none"

    changed = Agent(name="writer", model="offline", instructions="Write.", input_type=Longer)
    with serve(database, redis_url, tmp_path, agents=[changed]) as later, later.http as asked:
        kept = fork(asked, job_id, 2).json()["input"]
    assert kept == {"email": "a@example.com", "ask": "hello"}


def test_children_are_told_of_at_both_ends(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    names = sorted([uuid4(), uuid4()])
    bear(served, take(served, job_id), *names)
    parent = http.get(f"/v1/jobs/{job_id}").json()
    children = http.get(parent["links"]["children"]).json()["data"]
    assert (parent["children"], parent["depth"], parent["root_id"]) == (2, 0, str(job_id))
    assert parent["parent_job_id"] is None
    assert [child["id"] for child in children] == [str(name) for name in names]
    for child in children:
        assert (child["parent_job_id"], child["root_id"]) == (str(job_id), str(job_id))
        assert child["depth"] == 1
    assert http.get(f"/v1/jobs/{names[0]}/children").json()["data"] == []


def test_a_deadline_is_kept_with_the_job(served: Served, http: httpx.Client) -> None:
    asked = {"agent": "echo", "input": {}, "deadline_s": 90.5}
    job = http.post("/v1/jobs", json=asked).json()
    plain = http.post("/v1/jobs", json={"agent": "echo", "input": {}}).json()
    row = served.hand.job(UUID(job["id"]))
    assert row.deadline_at is not None
    assert (row.deadline_at - row.created_at).total_seconds() == pytest.approx(90.5)
    assert job["deadline_at"] is not None
    assert plain["deadline_at"] is None


@pytest.mark.parametrize("deadline_s", [0, -1, 400 * 86_400 + 1, "soon", 1e400])
def test_a_deadline_that_makes_no_sense_is_refused(lasting: Served, deadline_s: Any) -> None:
    raw = '{"agent":"echo","input":{},"deadline_s":%s}'
    written = '"soon"' if deadline_s == "soon" else str(deadline_s).replace("inf", "1e400")
    told = lasting.http.post(
        "/v1/jobs", content=raw % written, headers={"Content-Type": "application/json"}
    )
    assert (told.status_code, told.json()["code"]) == (422, "invalid-request")


def test_the_same_key_with_another_deadline_is_another_request(http: httpx.Client) -> None:
    asked = {"agent": "echo", "input": {}, "deadline_s": 60}
    headers = {"Idempotency-Key": "k"}
    first = http.post("/v1/jobs", json=asked, headers=headers)
    assert http.post("/v1/jobs", json=asked, headers=headers).json()["id"] == first.json()["id"]
    other = http.post("/v1/jobs", json={**asked, "deadline_s": 61}, headers=headers)
    assert other.json()["code"] == "idempotency-mismatch"


def test_a_fork_of_what_has_ended_is_a_new_job(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    advance(served, job_id, 1)
    served.hand.commit(
        take(served, job_id, 2), output=1, ending=Ending(JobStatus.COMPLETED, output=1)
    )
    made = fork(http, job_id, 2).json()
    assert made["status"] == "queued"
    assert http.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"

"""Waits and signals over HTTP: what steps wait for is told, and what is sent arrives once."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from store import waits
from tests.jobs.parking import QUESTION, SIGNAL, TIMER, begin_effect, park, parked, submit, take
from tests.jobs.serving import Served


def send(http: httpx.Client, job_id: UUID, name: str = "paid", **more: Any) -> httpx.Response:
    return http.post(f"/v1/jobs/{job_id}/signals", json={"name": name, **more})


def test_a_parked_job_says_what_it_waits_for_and_until_when(
    served: Served, http: httpx.Client
) -> None:
    job_id = parked(served, TIMER)
    job = http.get(f"/v1/jobs/{job_id}").json()
    (step,) = http.get(f"/v1/jobs/{job_id}/steps").json()["data"]
    (wait,) = http.get(f"/v1/jobs/{job_id}/waits").json()["data"]
    assert (job["status"], job["status_reason"]) == ("queued", "timer")
    assert job["status_until"] == wait["until"] == step["waiting_on"]["until"]
    assert (step["state"], step["waits"], step["waiting_on"]) == ("waiting", 1, wait)
    assert (wait["kind"], wait["state"], wait["decisions"]) == ("timer", "pending", [])


def test_a_step_that_waits_no_more_keeps_its_count_and_its_history(
    served: Served, http: httpx.Client
) -> None:
    job_id = parked(served, SIGNAL)
    send(http, job_id, data=1)
    park(served, take(served, job_id), QUESTION)
    (step,) = http.get(f"/v1/jobs/{job_id}/steps").json()["data"]
    told = http.get(f"/v1/jobs/{job_id}/waits").json()["data"]
    assert step["waits"] == 2
    assert step["waiting_on"]["n"] == 2
    assert [(w["n"], w["kind"], w["state"]) for w in told] == [
        (1, "signal", "answered"),
        (2, "question", "pending"),
    ]


def test_a_step_tells_when_its_effect_was_begun(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    held = take(served, job_id)
    (before,) = http.get(f"/v1/jobs/{job_id}/steps").json()["data"]
    begin_effect(served, held)
    (step,) = http.get(f"/v1/jobs/{job_id}/steps").json()["data"]
    assert before["effect_started_at"] is None
    assert step["effect_started_at"] is not None
    assert step["effect_key"] == f"{job_id}:1"


def test_a_signal_wakes_the_step_that_waits_for_it(served: Served, http: httpx.Client) -> None:
    job_id = parked(served, SIGNAL)
    told = send(http, job_id, data={"usd": 120}, key="k")
    assert told.status_code == 202
    assert told.json() == {
        "object": "signal",
        "job_id": str(job_id),
        "name": "paid",
        "key": "k",
        "status": "accepted",
    }
    woken = take(served, job_id).woken
    assert woken is not None
    assert (woken.name, woken.result) == ("paid", {"usd": 120})


def test_a_signal_may_come_before_anybody_waits_for_it(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    assert send(http, job_id, data="early").status_code == 202
    park(served, take(served, job_id), SIGNAL)
    woken = take(served, job_id).woken
    assert woken is not None
    assert woken.result == "early"


def test_the_same_key_is_the_same_signal(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    first, again = send(http, job_id, key="k"), send(http, job_id, key="k", data="other")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["status"] == "duplicate"
    http.post(f"/v1/jobs/{job_id}/cancel")
    assert send(http, job_id, key="k").status_code == 200, "a sender that retries is told the same"


def test_a_job_that_has_ended_takes_no_signal(served: Served, http: httpx.Client) -> None:
    job_id = submit(served)
    http.post(f"/v1/jobs/{job_id}/cancel")
    told = send(http, job_id)
    assert (told.status_code, told.json()["code"]) == (409, "closed")


def test_signals_that_nobody_reads_do_not_pile_up_without_an_end(
    served: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "SIGNALS_UNREAD_MAX", 2)
    job_id = submit(served)
    assert [send(http, job_id).status_code for _ in range(3)] == [202, 202, 429]
    refused = send(http, job_id)
    assert refused.json()["code"] == "crowded"
    assert int(refused.headers["Retry-After"]) >= 10


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a\x00"},
        {"name": "x" * 201},
        {"name": "paid", "key": ""},
        {"name": "paid", "data": "a\x00"},
        {"name": "paid", "data": "x" * 300_000},
        {"name": "paid", "payload": 1},
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(lasting: Served, body: dict[str, Any]) -> None:
    told = lasting.http.post(f"/v1/jobs/{uuid4()}/signals", json=body)
    assert (told.status_code, told.json()["code"]) == (422, "invalid-request")

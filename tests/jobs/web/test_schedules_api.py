"""Schedules over HTTP: made after all was checked, told with what is to come and what has been."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from store.doors import Doors
from store.tenants import DEFAULT_TENANT
from tests.jobs.serving import Served
from tests.ticking import Clockwork

NIGHTLY = {
    "name": "nightly",
    "agent": "echo",
    "input": {"n": 1},
    "cron": "30 3 * * *",
    "zone": "Europe/Berlin",
}


def create(http: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/schedules", json=NIGHTLY | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_schedule_is_made_and_told_with_its_next_five_runs(http: httpx.Client) -> None:
    answer = http.post("/v1/schedules", json=NIGHTLY)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == made["links"]["self"]
    assert (made["object"], made["name"], made["class"]) == ("schedule", "nightly", "default")
    assert (made["catch_up"], made["overlap"], made["paused_at"]) == ("one", "skip", None)
    runs = [datetime.fromisoformat(each) for each in made["next_runs"]]
    assert len(runs) == 5
    assert {(run.hour, run.minute) for run in runs} == {(3, 30)}
    assert all(run.utcoffset() is not None for run in runs)
    assert http.get(made["links"]["self"]).json() == made


@pytest.mark.parametrize(
    ("more", "status", "code", "field"),
    [
        ({"agent": "ecko"}, 404, "unknown-agent", None),
        ({"cron": "0 0 31 2 *"}, 422, "bad-schedule", "cron"),
        ({"zone": "Berlin"}, 422, "bad-schedule", "zone"),
        ({"every_s": 5}, 422, "bad-schedule", "cron"),
        ({"cron": None}, 422, "bad-schedule", "cron"),
        ({"cron": None, "every_s": -5}, 422, "bad-schedule", "every_s"),
        ({"cron": None, "at": "2020-01-01T00:00"}, 422, "bad-schedule", "at"),
        ({"agent": "writer"}, 422, "invalid-input", "email"),
        ({"model": "offline"}, 422, "unknown-model", None),
        ({"catch_up": "some"}, 422, "invalid-request", "catch_up"),
        ({"surprise": 1}, 422, "invalid-request", "surprise"),
        ({"name": "a\nb"}, 422, "invalid-request", "name"),
        ({"jitter_s": 1e9}, 422, "bad-schedule", "jitter_s"),
        ({"cron": None, "every_s": 10**30}, 422, "bad-schedule", "every_s"),
        ({"cron": None, "at": "9999-12-31T23:59:59-14:00"}, 422, "bad-schedule", "at"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    http: httpx.Client, more: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    answer = http.post("/v1/schedules", json=NIGHTLY | more)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if field is not None:
        assert field in [part for e in answer.json()["errors"] for part in e["loc"]]
    assert http.get("/v1/schedules").json()["data"] == []


def test_a_name_is_taken_once(http: httpx.Client) -> None:
    create(http)
    answer = http.post("/v1/schedules", json=NIGHTLY)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-schedule")
    assert "already" in answer.json()["detail"]


def test_schedules_are_listed_by_name_in_pages(served: Served, http: httpx.Client) -> None:
    for name in ("c", "a", "b"):
        create(http, name=name)
    page = http.get("/v1/schedules", params={"limit": 2}).json()
    assert ([each["name"] for each in page["data"]], page["has_more"]) == (["a", "b"], True)
    page = http.get("/v1/schedules", params={"limit": 2, "after": "b"}).json()
    assert ([each["name"] for each in page["data"]], page["has_more"]) == (["c"], False)
    with served.client as client:
        assert [each["name"] for each in client.schedules(limit=2)] == ["a", "b"]
        assert [each["name"] for each in client.schedules(name="b")] == ["b"]


def test_a_schedule_is_paused_resumed_run_and_deleted(http: httpx.Client) -> None:
    made = create(http)
    here = made["links"]["self"]
    paused = http.post(f"{here}/pause").json()
    assert paused["paused_at"] is not None
    assert paused["next_runs"] == []
    assert http.post(f"{here}/pause").json() == paused
    assert http.post(f"{here}/resume").json() == made
    ran = http.post(f"{here}/run")
    assert (ran.status_code, ran.json()["state"]) == (202, "fired")
    job = http.get(ran.json()["links"]["job"]).json()
    assert (job["agent"], job["status"], job["input"]) == ("echo", "queued", {"n": 1})
    again = http.post(f"{here}/run").json()
    assert (again["state"], again["reason"], again["job_id"]) == ("skipped", "overlap", None)
    ticks = http.get(f"{here}/ticks").json()["data"]
    assert ticks == [again, ran.json()]
    assert http.delete(here).json()["id"] == made["id"]
    assert http.get(here).status_code == http.delete(here).status_code == 404
    assert http.get(f"/v1/jobs/{job['id']}").status_code == 200


@pytest.mark.parametrize("verb", ["pause", "resume", "run"])
def test_what_is_not_there_is_not_found(http: httpx.Client, verb: str) -> None:
    assert http.post(f"/v1/schedules/{uuid4()}/{verb}").status_code == 404
    assert http.get(f"/v1/schedules/{uuid4()}/ticks").status_code == 404


def test_ticks_are_told_in_pages(served: Served, doors: Doors) -> None:
    with served.client as client:
        made = client.create_schedule("m", "echo", {}, every_s=60, overlap="allow", catch_up="all")
        clockwork = Clockwork(doors, DEFAULT_TENANT)
        schedule = clockwork.row(made["id"]).id
        clockwork.pass_by(schedule, 5 * 60 + 30)
        clockwork.tick()
        ticks = client.ticks(made["id"], limit=4)
        assert [each["state"] for each in ticks] == ["fired"] * 4
        assert ticks == client.ticks(made["id"])[:4]
        page = served.http.get(
            f"/v1/schedules/{made['id']}/ticks", params={"before": ticks[1]["tick_at"], "limit": 2}
        ).json()
        assert (page["data"], page["has_more"]) == (ticks[2:4], True)


def test_the_client_makes_what_it_is_told(served: Served) -> None:
    at = datetime.fromisoformat("2030-07-01T08:00:00")
    with served.client as client:
        made = client.create_schedule(
            "once", "echo", {}, at=at, zone="Asia/Tokyo", job_class="batch", paused=True
        )
        assert (made["class"], made["paused_at"] is None) == ("batch", False)
        resumed = client.resume_schedule(made["id"])
        assert resumed["next_runs"] == ["2030-07-01T08:00:00+09:00"]
        assert client.schedule(made["id"]) == resumed
        assert client.run_schedule(made["id"])["state"] == "fired"
        assert client.pause_schedule(made["id"])["next_runs"] == []
        assert client.delete_schedule(made["id"])["name"] == "once"
        assert client.schedules() == []


def test_no_other_tenant_sees_or_moves_it(
    served: Served, http: httpx.Client, doors: Doors, other_tenant: Any
) -> None:
    theirs = Clockwork(doors, other_tenant).put_down("theirs")
    assert http.get("/v1/schedules").json()["data"] == []
    here = f"/v1/schedules/{theirs}"
    answers = [http.get(here), http.get(f"{here}/ticks"), http.delete(here)]
    answers += [http.post(f"{here}/{verb}") for verb in ("pause", "resume", "run")]
    assert {answer.status_code for answer in answers} == {404}
    assert Clockwork(doors, other_tenant).row(theirs).paused_at is None

"""The platform told over HTTP: agents, lanes, workers, health, and the schema of it all."""

from __future__ import annotations

import re

import httpx
import psycopg

from broker.lanes import ALL_LANES
from tests.jobs.serving import Served


def test_a_platform_with_all_it_needs_is_ready(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready", "database": "ok", "redis": "ok"}


def test_a_database_at_another_migration_is_not_ready(served: Served, http: httpx.Client) -> None:
    with psycopg.connect(served.admin_url, autocommit=True) as admin:
        admin.execute("update stepwell.alembic_version set version_num = '0000'")
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database-not-ready")
    assert "stepwell doctor" in answer.json()["detail"]


def test_agents_are_told_with_what_they_take_and_may_do(http: httpx.Client) -> None:
    agents = {agent["name"]: agent for agent in http.get("/v1/agents").json()["data"]}
    assert agents.keys() == {"analyst", "echo", "writer"}
    (look,) = agents["writer"]["tools"]
    assert look == {
        "name": "look",
        "description": "Look somewhere.",
        "effect": "read",
        "idempotency": "safe",
        "work": "waits",
        "origins": ["agent", "api", "chat", "mcp", "schedule", "webhook"],
        "rules": None,
        "trusted": True,
    }
    assert "email" in agents["writer"]["input_schema"]["properties"]
    assert agents["echo"]["description"] == "Gives back what it was given."


def test_lanes_are_told_with_what_waits_on_them(http: httpx.Client) -> None:
    http.post("/v1/jobs", json={"agent": "echo", "input": {}, "class": "batch"})
    lanes = {lane["name"]: lane["waiting"] for lane in http.get("/v1/queues").json()["data"]}
    assert set(lanes) == set(ALL_LANES)
    assert {name for name, waiting in lanes.items() if waiting} == {"stepwell.batch.waits"}


def test_workers_are_told_while_they_live(served: Served, http: httpx.Client) -> None:
    assert http.get("/v1/workers").json()["data"] == []
    worker_id = served.hand.start_worker(slots=3)
    (worker,) = http.get("/v1/workers").json()["data"]
    assert (worker["id"], worker["slots"], worker["state"]) == (str(worker_id), 3, "live")
    assert 0 <= worker["silent_s"] < 30


def test_the_schema_is_served_and_loads_nothing_from_elsewhere(lasting: Served) -> None:
    schema = lasting.http.get("/openapi.json").json()
    assert {"/v1/jobs", "/v1/jobs/{job_id}/events", "/v1/datasets"} <= schema["paths"].keys()
    assert lasting.http.get("/docs").status_code == 404
    assert lasting.http.get("/redoc").status_code == 404


def test_the_schema_asks_for_the_token_on_everything_guarded(lasting: Served) -> None:
    paths = lasting.http.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for operation in methods.values():
            assert bool(operation.get("security")) == path.startswith("/v1/"), path


def test_every_operation_says_in_words_what_it_is(lasting: Served) -> None:
    paths = lasting.http.get("/openapi.json").json()["paths"]
    summaries = [operation["summary"] for m in paths.values() for operation in m.values()]
    assert all(re.match(r"[A-Z].* ", summary) for summary in summaries)

"""The queues over HTTP: lanes, what waits, the level, refusals; and the figures for Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from time import perf_counter

import httpx
import pytest
from sqlalchemy import text

from broker.gates import Came
from broker.lanes import ALL_LANES
from broker.settings import BrokerSettings
from scheduler.census import take_census
from scheduler.settings import SchedulerSettings
from store.states import JobClass
from tests.broker.gatekeeping import LEASE_S, keeping
from tests.conftest import Database
from tests.jobs.serving import Served, serve

AT_ONCE = SchedulerSettings(census_every_s=1e-6)
MANY = text(
    "with made as (insert into stepwell.jobs (tenant_id, id, agent, agent_version, job_class, "
    "origin, status, outstanding, next_seq, input, root_id) "
    "select t.tenant_id, id, 'a', '1', 'batch', 'api', 'queued', 1, 2, '{}', id "
    "from stepwell.tenants t, (select gen_random_uuid() as id from generate_series(1, :many)) ids "
    "returning tenant_id, id) "
    "insert into stepwell.checkpoints (tenant_id, job_id, seq, kind, name, job_class, work, state) "
    "select tenant_id, id, 1, 'model', 'model', 'batch', 'waits', 'ready' from made"
)


def count(served: Served) -> None:
    with served.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.load set cost_s = 0"))
    assert take_census(served.doors, AT_ONCE) == 1


def test_before_any_census_the_queues_say_that_there_was_none(http: httpx.Client) -> None:
    told = http.get("/v1/queues").json()
    assert (told["level"], told["measured_s"], told["refusals"]) == (0, None, [])
    assert {lane["name"] for lane in told["data"]} == set(ALL_LANES)
    assert [each["name"] for each in told["classes"]] == [each.value for each in JobClass]


def test_what_waits_is_told_by_class_with_what_is_yours(served: Served, http: httpx.Client) -> None:
    served.hand.start_worker(slots=3)
    for _ in range(2):
        served.hand.put_down(job_class=JobClass.BATCH)
    count(served)
    told = http.get("/v1/queues").json()
    batch = {each["name"]: each for each in told["classes"]}["batch"]
    assert (batch["waiting"], batch["yours"], batch["wait_s"]) == (2, 2, None)
    assert batch["oldest_s"] >= 0
    assert told["slots"] == {"waits": 3, "computes": 0}
    assert 0 <= told["measured_s"] < 30


def test_metrics_are_told_without_a_token_and_without_any_tenant(served: Served) -> None:
    served.hand.put_down(job_class=JobClass.BATCH)
    count(served)
    answer = httpx.get(f"{served.url}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'stepwell_waiting_steps{class="batch"} 1' in lines
    assert "stepwell_level 0" in lines
    assert 'stepwell_lane_messages{lane="stepwell.batch.waits"} 0' in lines
    assert str(served.hand.tenant_id) not in answer.text
    for line in lines:
        assert re.fullmatch(
            r'# (HELP|TYPE) stepwell_\w+ .+|stepwell_\w+(\{\w+="[\w.]+"\})? \S+', line
        )


def test_metrics_tell_how_each_dependency_fares(
    served: Served, broker_settings: BrokerSettings
) -> None:
    strange = 'a "b" \\c'
    with keeping(broker_settings) as keeper:
        for n in range(24):
            held = keeper.gates.enter(strange, "job:1", lease_s=LEASE_S, is_first_try=n % 2 == 0)
            keeper.gates.leave(held, Came.OK)
        keeper.fill(2)
    lines = httpx.get(f"{served.url}/metrics", trust_env=False).text.splitlines()
    label = r'dependency="a \"b\" \\c"'
    assert f"stepwell_dependency_amplification{{{label}}} 2" in lines
    assert f"stepwell_dependency_amplified{{{label}}} 1" in lines
    assert 'stepwell_dependency_amplified{dependency="crm"} 0' in lines
    assert 'stepwell_dependency_in_flight{dependency="crm"} 2' in lines
    assert 'stepwell_dependency_open{dependency="crm"} 1' in lines


def test_metrics_are_told_while_redis_is_away(database: Database, tmp_path: Path) -> None:
    with serve(database, "redis://127.0.0.1:1/0", tmp_path) as served:
        answer = httpx.get(f"{served.url}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert "stepwell_level" in answer.text
    assert "stepwell_lane_messages" not in answer.text


def fastest_s(http: httpx.Client) -> float:
    took = []
    for _ in range(30):
        began = perf_counter()
        assert http.get("/v1/queues").status_code == 200
        took.append(perf_counter() - began)
    return min(took)


def test_looking_costs_the_same_however_much_waits(served: Served, http: httpx.Client) -> None:
    count(served)
    few_s = fastest_s(http)
    with served.doors.as_operator("test") as tx:
        tx.execute(MANY, {"many": 100_000})
    count(served)
    batch = {each["name"]: each for each in http.get("/v1/queues").json()["classes"]}["batch"]
    assert batch["waiting"] == 100_000
    assert fastest_s(http) <= 1.5 * few_s


def test_a_census_of_a_long_backlog_is_quick(served: Served) -> None:
    with served.doors.as_operator("test") as tx:
        tx.execute(MANY, {"many": 100_000})
    count(served)
    with served.doors.as_operator("test") as tx:
        cost_s = tx.execute(text("select cost_s from stepwell.load")).scalar_one()
    assert cost_s < 1.0, cost_s


@pytest.mark.parametrize("path", ["/v1/queues"])
def test_the_queues_are_behind_the_door(served: Served, path: str) -> None:
    assert httpx.get(served.url + path, trust_env=False).status_code == 401

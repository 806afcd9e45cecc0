"""Dependencies over HTTP: who calls them, how their gates stand, and what if one were slower."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from broker.gates import Came
from broker.settings import BrokerSettings
from store import workers
from store.states import Work
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping
from tests.conftest import Database
from tests.jobs.outside import OUTSIDE
from tests.jobs.serving import Served, serve


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with serve(database, redis_url, tmp_path, agents=OUTSIDE) as api:
        yield api


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def dependencies(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in http.get("/v1/dependencies").json()["data"]}


def test_what_agents_name_is_told_before_anybody_called_it(http: httpx.Client) -> None:
    found = dependencies(http)
    assert list(found) == ["crm", "openai", "weather"]
    assert {each["state"] for each in found.values()} == {"unused"}
    assert found["openai"]["used_by"] == [{"agent": "helper", "by": "model", "is_optional": False}]
    assert found["crm"]["used_by"] == [
        {"agent": "enrich", "by": "look_up", "is_optional": False},
        {"agent": "helper", "by": "look_up", "is_optional": False},
    ]
    (use,) = found["weather"]["used_by"]
    assert use["is_optional"] is True


def test_what_was_called_is_told_with_its_gate(http: httpx.Client, keeper: Keeper) -> None:
    keeper.learn(total_s=2.0, first_s=1.0)
    keeper.fill(3)
    crm = dependencies(http)["crm"]
    assert (crm["state"], crm["limit"], crm["in_flight"], crm["waiting"]) == ("open", 16, 3, 0)
    assert (crm["reason"], crm["until"], crm["amplification"]) == (None, None, 1.0)
    assert crm["first_token"] == {"p50_s": 1.0, "p99_s": 1.0, "timeout_s": 3.0}
    assert crm["total"] == {"p50_s": 2.0, "p99_s": 2.0, "timeout_s": 6.0}
    assert crm["last_hour"] == {
        **dict.fromkeys(("slow", "failed", "rate_limited", "quota", "turned_away"), 0),
        "calls": 23,
        "ok": 20,
    }


def test_a_shut_gate_is_told_with_why_and_until_when(http: httpx.Client, keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=100)
    keeper.enter()
    crm = dependencies(http)["crm"]
    assert (crm["state"], crm["reason"], crm["waiting"]) == ("shut", "rate_limited", 1)
    left_s = (datetime.fromisoformat(crm["until"]) - datetime.now(UTC)).total_seconds()
    assert 95 < left_s <= 105
    keeper.pass_time(110)
    crm = dependencies(http)["crm"]
    assert (crm["state"], crm["until"]) == ("probing", None)


def test_what_only_others_call_is_told_too(http: httpx.Client, keeper: Keeper) -> None:
    keeper.gates.enter("elsewhere", "job:1", lease_s=LEASE_S)
    assert dependencies(http)["elsewhere"]["used_by"] == []


def test_the_model_that_is_set_for_all_is_what_they_call(
    database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_MODEL", "anthropic:claude-haiku-4-5")
    with serve(database, redis_url, tmp_path, agents=OUTSIDE) as api, api.http as http:
        (first, second) = dependencies(http)["anthropic"]["used_by"]
        assert (first["agent"], second["agent"]) == ("helper", "hermit")


def test_ten_times_as_long_is_answered_in_numbers_and_words(
    served: Served, http: httpx.Client, keeper: Keeper
) -> None:
    served.hand.start_worker(slots=40)
    with served.doors.as_nobody() as tx:
        workers.register(tx, uuid4(), name="computes", work=Work.COMPUTES, slots=500, version="0")
    keeper.learn(total_s=3.0, times=120)
    seen = http.get("/v1/dependencies/what-if", params={"name": CRM, "factor": 10}).json()
    assert (seen["object"], seen["name"], seen["factor"]) == ("what_if", "crm", 10)
    assert (seen["usual_s"], seen["then_s"]) == (pytest.approx(3.0), pytest.approx(30.0))
    assert seen["slots"] == 40
    # Two minutes may have seen the calls; all of them wanted more than the limit in the one.
    assert seen["slots_held"] == 16
    assert [each["limit"] for each in seen["backlogs"]] == [16, 4]
    assert len(seen["used_by"]) == 2
    assert "of 40 slots" in seen["sentences"][-1]


def test_nobody_knows_what_if_where_nobody_called(http: httpx.Client, keeper: Keeper) -> None:
    keeper.gates.enter("mail", "job:1", lease_s=LEASE_S)
    answer = http.get("/v1/dependencies/what-if", params={"name": "crm"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.json()["detail"].endswith("Called were: mail.")


@pytest.mark.parametrize("factor", ["0", "-1", "1001", "nan", "ten"])
def test_a_factor_that_is_none_is_refused(http: httpx.Client, factor: str) -> None:
    answer = http.get("/v1/dependencies/what-if", params={"name": "crm", "factor": factor})
    assert answer.status_code == 422


def test_without_redis_that_is_what_is_told(database: Database, tmp_path: Path) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    with serve(database, nowhere, tmp_path, agents=OUTSIDE) as api, api.http as http:
        answer = http.get("/v1/dependencies")
    assert (answer.status_code, answer.json()["code"]) == (503, "redis-unreachable")

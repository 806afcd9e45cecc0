"""Policy over HTTP: rules are kept in versions, and calls are judged by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.policy.tenant_rules import RULES_MAX
from tests.conftest import Database
from tests.jobs.policy.programs import AGENTS, pay
from tests.jobs.serving import Served, serve

RULE = {"tool": "pay", "expression": "args.amount > 10", "verdict": "confirm"}
STRICT = {"tool": "p*", "expression": "'schedule' in invocation.origins", "verdict": "approve"}


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with serve(database, redis_url, tmp_path, agents=AGENTS) as api:
        yield api


def put(http: httpx.Client, rule_id: str, rule: dict[str, Any], **more: Any) -> httpx.Response:
    return http.put(f"/v1/policy/rules/{rule_id}", json=rule | more)


def judge(http: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = http.post("/v1/policy/test", json={"tool": "pay", "args": {"amount": 50}} | asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_rule_is_added_changed_and_removed(http: httpx.Client) -> None:
    made = put(http, "small", RULE).json()
    assert (made["object"], made["id"], made["version"]) == ("policy_rule", "small", 1)
    assert (made["role"], made["quorum"], made["removed"]) == (None, 1, False)
    assert made["decided_by"] == "operator"
    changed = put(http, "small", RULE, verdict="approve", role="finance", quorum=2).json()
    assert (changed["version"], changed["role"], changed["quorum"]) == (2, "finance", 2)
    assert http.get("/v1/policy/rules").json()["data"] == [changed]
    gone = http.delete("/v1/policy/rules/small").json()
    assert (gone["version"], gone["removed"]) == (3, True)
    assert http.get("/v1/policy/rules").json()["data"] == []
    versions = http.get("/v1/policy/rules/small/versions").json()["data"]
    assert versions == [made, changed, gone]
    again = http.delete("/v1/policy/rules/small")
    assert (again.status_code, again.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"expression": "args.amount >"}, "fails with"),
        ({"expression": "amount > 1"}, "looks at amount"),
        ({"expression": "x" * 1001}, "at most 1000"),
        ({"verdict": "allow"}, "verdict"),
        ({"verdict": "approve", "role": "two words"}, "no role"),
        ({"role": "finance"}, "go with approve"),
        ({"quorum": 0}, "greater than or equal to 1"),
        ({"tool": "pay us"}, "names no tools"),
        ({"origin": "api"}, "Extra inputs"),
    ],
)
def test_a_rule_that_could_not_work_is_refused_and_nothing_is_kept(
    http: httpx.Client, change: dict[str, Any], told: str
) -> None:
    answer = put(http, "r", RULE | change)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert http.get("/v1/policy/rules").json()["data"] == []


@pytest.mark.parametrize("rule_id", ["Large", "a b", "-a", "x" * 65])
def test_an_id_that_is_none_is_refused(http: httpx.Client, rule_id: str) -> None:
    assert put(http, rule_id, RULE).status_code == 422


def test_there_are_only_so_many_rules(http: httpx.Client) -> None:
    for n in range(RULES_MAX):
        assert put(http, f"r{n}", RULE).status_code == 200
    answer = put(http, "one-more", RULE)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert len(http.get("/v1/policy/rules").json()["data"]) == RULES_MAX


def test_a_call_is_judged_by_hand_with_reasons(http: httpx.Client) -> None:
    free = judge(http)
    assert (free["object"], free["verdict"], free["rules"]) == ("judgement", "allow", [])
    large = judge(http, args={"amount": 500})
    assert (large["verdict"], large["quorum"]) == ("confirm", 1)
    assert large["reasons"] == ["large: It is a lot."]
    assert large["tool_sha256"] == free["tool_sha256"] == pay.sha256
    assert large["args_sha256"] != free["args_sha256"]

    put(http, "ticks", STRICT, role="finance", quorum=2)
    tick = judge(http, origin="agent", origins_above=["schedule"])
    assert (tick["verdict"], tick["role"], tick["quorum"]) == ("approve", "finance", 2)
    assert tick["rules"] == ["tenant:ticks"]
    assert judge(http, origin="chat")["verdict"] == "allow"
    assert tick["policy_version"] != free["policy_version"]


def test_who_asks_and_as_what_counts(http: httpx.Client) -> None:
    expression = "invocation.requester != 'ann' || !('clerk' in invocation.roles)"
    put(http, "own", RULE, expression=expression, verdict="deny")
    assert judge(http)["verdict"] == "deny"
    assert judge(http, requester="ann", roles=["clerk"])["verdict"] == "allow"


def test_what_is_meant_has_to_be_clear(http: httpx.Client) -> None:
    asked = {"tool": "note", "args": {"text": "hello"}}
    answer = http.post("/v1/policy/test", json=asked)
    assert answer.status_code == 422
    assert "clerk, line each have a 'note' of their own" in answer.json()["detail"]
    assert judge(http, **asked, agent="clerk")["rules"] == ["default"]
    assert judge(http, **asked, agent="line")["verdict"] == "allow"
    unknown = http.post("/v1/policy/test", json={"tool": "fly", "args": {}})
    assert (unknown.status_code, "note, pay" in unknown.json()["detail"]) == (404, True)
    nobody = http.post("/v1/policy/test", json=asked | {"agent": "nobody"})
    assert (nobody.status_code, nobody.json()["code"]) == (404, "unknown-agent")


@pytest.mark.parametrize("args", [{}, {"amount": "much"}, {"amount": 1, "of": "what"}])
def test_arguments_that_do_not_fit_are_refused(http: httpx.Client, args: dict[str, Any]) -> None:
    answer = http.post("/v1/policy/test", json={"tool": "pay", "args": args})
    assert answer.status_code == 422
    assert "The arguments do not fit 'pay'" in answer.json()["detail"]


def test_nothing_is_written_by_judging(served: Served, http: httpx.Client) -> None:
    before = served.row_counts()
    judge(http)
    assert served.row_counts() == before

"""`stepwell policy`: rules are added, listed and removed, and calls are judged by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.policy.programs import AGENTS
from tests.jobs.serving import Served, serve

SMALL = ("--tool", "pay", "--when", "args.amount > 10")
AMOUNT = ("--args", '{"amount": 50}')


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with capture_logs(), serve(database, redis_url, tmp_path / "home", agents=AGENTS) as api:
        yield api


def test_without_rules_it_says_how_to_add_one(run: Run) -> None:
    said = run("policy", "list")
    assert (said.code, said.out) == (0, "")
    assert "stepwell policy add --help" in said.err


def test_a_rule_is_added_listed_and_removed(run: Run) -> None:
    added = run(
        *("policy", "add", "small", *SMALL),
        *("--then", "approve", "--role", "finance", "--quorum", "2"),
    )
    assert added.code == 0
    assert "rule small holds, in version 1: approve by 2 people of finance" in added.err
    line = " ".join(run("policy", "list").out.splitlines()[1].split())
    assert line.startswith("small pay approve by 2 people of finance args.amount > 10")
    (told,) = json.loads(run("policy", "list", "--json").out)
    assert (told["id"], told["verdict"], told["role"]) == ("small", "approve", "finance")
    assert "rule small holds no longer" in run("policy", "remove", "small").err
    assert run("policy", "list").out == ""
    again = run("policy", "remove", "small")
    assert (again.code, "no rule 'small'" in again.err) == (2, True)


def test_a_rule_that_could_not_work_is_refused_in_words(run: Run) -> None:
    said = run("policy", "add", "r", "--tool", "*", "--when", "amount > 1", "--then", "deny")
    assert said.code == 2
    assert "There are args, invocation and tool" in said.err
    assert run("policy", "add", "r", *SMALL, "--then", "allow").code == 2


def test_a_call_is_judged_by_hand(run: Run) -> None:
    free = run("policy", "test", "pay", *AMOUNT)
    assert free.code == 0
    assert free.out.splitlines()[:2] == ["allow", "  No rule has anything to say about it."]
    run("policy", "add", "small", *SMALL, "--then", "approve")
    run("policy", "add", "ticks", "--tool", "*", "--when", "invocation.depth > 1", "--then", "deny")
    asked = run("policy", "test", "pay", *AMOUNT).out.splitlines()
    assert asked[:2] == ["approve by 1 person of operator", "  tenant:small: args.amount > 10"]
    assert asked[2].startswith("policy ")
    line = ("--origin", "agent", "--above", "schedule", "--above", "agent")
    deep = json.loads(run("policy", "test", "pay", *AMOUNT, *line, "--json").out)
    assert (deep["verdict"], deep["rules"]) == ("deny", ["tenant:ticks", "tenant:small"])


def test_what_cannot_be_judged_is_told(run: Run) -> None:
    assert "No tool is named 'fly'" in run("policy", "test", "fly").err
    assert "do not fit 'pay'" in run("policy", "test", "pay").err.replace("\n", " ")
    assert "not an object" in run("policy", "test", "pay", "--args", "[]").err
    said = run("policy", "test", "note", "--args", '{"text": "x"}', "--agent", "clerk")
    assert said.out.splitlines()[0] == "confirm"


def test_requester_and_roles_are_told_to_the_rules(run: Run) -> None:
    when = "!('clerk' in invocation.roles) || invocation.requester != 'ann'"
    run("policy", "add", "own", "--tool", "pay", "--when", when, "--then", "deny")
    assert run("policy", "test", "pay", *AMOUNT).out.startswith("deny")
    who = ("--requester", "ann", "--role", "clerk")
    assert run("policy", "test", "pay", *AMOUNT, *who).out.startswith("allow")

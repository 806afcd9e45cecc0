"""Approvals on the command line: a call is named by what was read, and decided about once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from store.states import ApprovalState, Decision, StepState
from tests.asking import asking, for_finance, sha256
from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.gating import AGENTS, asker_of, waiting
from tests.jobs.serving import Served, serve


@pytest.fixture
def served(
    database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setenv("TEST_LEDGER", str(tmp_path / "ledger"))
    with capture_logs(), serve(database, redis_url, tmp_path / "home", agents=AGENTS) as api:
        yield api


def id_of(job_id: UUID, amount: int = 500) -> str:
    return f"{str(job_id)[-8:]}:2:{sha256({'amount': amount})[:8]}"


def test_nothing_that_waits_is_said_as_such(run: Run) -> None:
    said = run("approvals")
    assert (said.code, said.out) == (0, "")
    assert "No call waits" in said.err
    assert json.loads(run("approvals", "--json").out) == []


def test_a_call_is_shown_with_tool_arguments_reasons_and_who_decides(
    run: Run, served: Served
) -> None:
    job_id = waiting(served, for_finance({"amount": 500}, quorum=2))
    said = run("approvals", str(job_id)[-8:])
    for expected in (
        id_of(job_id),
        str(job_id),
        "refund",
        '"amount": 500',
        "More than 100.",
        "refund.large",
        "2 of the role finance",
        "then rejected",
    ):
        assert expected in said.out, expected


def test_a_call_is_approved_by_its_id(run: Run, served: Served) -> None:
    job_id = waiting(served)
    said = run("approve", id_of(job_id), "--remember", "--reason", "It is owed.")
    assert said.code == 0, said.err
    assert "is granted" in said.err
    asked = asker_of(served).approval(job_id)
    assert (asked.state, asked.is_remembered) == (ApprovalState.GRANTED, True)
    (decision,) = asker_of(served).decisions(job_id)
    assert (decision.decided_by, decision.reason) == ("operator", "It is owed.")
    assert run("approve", id_of(job_id)).code == 2


def test_other_arguments_than_were_read_are_not_approved(run: Run, served: Served) -> None:
    job_id = waiting(served)
    said = run("approve", id_of(job_id, amount=400))
    assert said.code == 2
    assert "look at them again" in said.err
    assert '"amount": 500' in said.out
    for name in ("nonsense", f"{str(job_id)[-8:]}:2", f"{str(job_id)[-8:]}:2:12"):
        assert run("approve", name).code == 2
    assert asker_of(served).states(job_id)[1] is StepState.WAITING


def test_a_call_is_rejected_edited_or_answered(run: Run, served: Served) -> None:
    asker = asker_of(served)
    rejected, edited, answered = (waiting(served) for _ in range(3))
    assert run("reject", id_of(rejected), "--reason", "No.").code == 0
    assert asker.approval(rejected).state is ApprovalState.REJECTED
    said = run("edit", id_of(edited), "--args", '{"amount": 300}')
    assert said.code == 0, said.err
    assert [each.state.value for each in asker.approvals(edited)] == ["edited", "granted"]
    assert run("answer", id_of(answered), "--result", '{"id": 7}').code == 0
    assert asker.approval(answered).state is ApprovalState.ANSWERED
    (decision,) = asker.decisions(answered)
    assert decision.decision is Decision.RESPOND


def test_an_edit_that_needs_more_people_names_the_new_call(run: Run, served: Served) -> None:
    job_id = waiting(served)
    said = run("edit", id_of(job_id), "--args", '{"amount": 5000}')
    assert "0 of 2 have approved" in said.err
    anew = f"{str(job_id)[-8:]}:2:{asker_of(served).approval(job_id, 2).args_sha256[:8]}"
    assert anew in said.err
    refused = run("approve", anew)
    assert (refused.code, "finance" in refused.err) == (2, True)


def test_the_audit_is_shown_with_who_has_decided_what(run: Run, served: Served) -> None:
    assert "Nobody has decided" in run("audit", "list").err
    jobs = [waiting(served) for _ in range(2)]
    for job_id in jobs:
        run("reject", id_of(job_id), "--reason", "a\x1b[31mred")
    shown = run("audit", "list", str(jobs[0]))
    assert shown.code == 0
    for expected in ("approval.", "operator", "reject", str(jobs[0])[-8:]):
        assert expected in shown.out, expected
    assert str(jobs[1])[-8:] not in shown.out
    assert "\x1b" not in shown.out
    told = json.loads(run("audit", "list", "--limit", "3", "--json").out)
    assert [line["n"] for line in told] == [2, 3, 4], "the last line last"
    told = json.loads(run("audit", "list", "--before", "3", "--json").out)
    assert [line["n"] for line in told] == [1, 2]
    assert "no such line" in run("audit", "list", "--before", "1").err


def test_the_audit_is_verified(run: Run, served: Served) -> None:
    run("reject", id_of(waiting(served, asking({"amount": 500}))))
    said = run("audit", "verify")
    assert (said.code, "whole: 2 lines" in said.err) == (0, True)
    with psycopg.connect(served.admin_url) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("update stepwell.audit set content = '{}' where n = 2")
    said = run("audit", "verify")
    assert (said.code, "broken at line 2" in said.err) == (1, True)

"""Doubt: what came of a call that people were asked about is theirs to say, too."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from store.approvals import Became
from store.doors import Doors
from store.letters import Replayed
from store.states import StepState, WaitKind
from store.transitions import Parked, Start, Wait
from store.waits import Answered
from tests.asking import FINANCE, NOBODY, REQUESTER, Asker, asking, for_finance, gated, sha256
from tests.stepping import OPERATOR, call


@pytest.fixture
def asker(doors: Doors, tenant: UUID) -> Asker:
    return Asker(doors, tenant)


IN_DOUBT = Wait(WaitKind.RECONCILE, "refund", prompt={"ask": "Did this call happen?"})


def in_doubt(asker: Asker, question: Any, **yes: Any) -> UUID:
    """A job whose approved call may have happened, and people are asked whether it did."""
    job_id = asker.plan(gated(question))
    assert asker.decide(job_id, **yes) is Became.GRANTED
    held = asker.granted(asker.take(job_id, 2))
    assert asker.start_effect(held) is Start.GO
    assert asker.park(held, IN_DOUBT) is Parked.PARKED
    return job_id


@pytest.mark.parametrize("decision", ["again", "happened", "fail"])
def test_whoever_may_not_approve_a_call_may_not_say_what_came_of_it(
    asker: Asker, decision: str
) -> None:
    job_id = in_doubt(asker, for_finance(), by="fred", roles=FINANCE)
    said = {"decision": decision, "result": {"id": 7}}
    for by, roles in ((REQUESTER, FINANCE), ("fred", NOBODY), ("olga", OPERATOR)):
        assert asker.answer(job_id, said, seq=2, n=2, by=by, roles=roles) is Answered.DENIED
    assert asker.states(job_id)[1] is StepState.WAITING
    assert asker.answer(job_id, said, seq=2, n=2, by="fay", roles=FINANCE) is Answered.ANSWERED
    assert asker.answer(job_id, said, seq=2, n=2, by="eve", roles=NOBODY) is Answered.CLOSED
    line = asker.audit()[-1]
    assert (line["kind"], line["by"], line["roles"]) == ("approval.reconciled", "fay", ["finance"])
    assert (line["seq"], line["n"], line["decision"]) == (2, 1, decision)
    assert line["args_sha256"] == asker.approval(job_id).args_sha256
    assert asker.verify().is_whole


def test_the_requester_says_what_came_of_a_call_that_was_theirs_to_confirm(asker: Asker) -> None:
    job_id = in_doubt(asker, asking())
    said = {"decision": "again"}
    assert asker.answer(job_id, said, seq=2, n=2, by="eve", roles=FINANCE) is Answered.DENIED
    assert asker.answer(job_id, said, seq=2, n=2, by=REQUESTER, roles=NOBODY) is Answered.ANSWERED


def test_anybody_may_say_what_came_of_a_call_that_nobody_was_asked_about(asker: Asker) -> None:
    job_id = asker.put_to_sleep(IN_DOUBT)
    said = {"decision": "again"}
    assert asker.answer(job_id, said, by="eve", roles=NOBODY) is Answered.ANSWERED
    assert asker.audit() == []


def test_a_replay_does_not_let_others_say_what_came_of_the_first_call(asker: Asker) -> None:
    job_id = asker.plan(gated(for_finance()))
    asker.decide(job_id, by="fred", roles=FINANCE)
    held = asker.granted(asker.take(job_id, 2))
    assert asker.start_effect(held) is Start.GO
    assert asker.fail(held) is not None
    made, again_id = asker.replay(job_id)
    assert made is Replayed.MADE
    assert asker.park(asker.take(again_id, 2), IN_DOUBT) is Parked.PARKED
    said = {"decision": "happened", "result": {"id": 7}}
    told = {"seq": 2, "n": 1}
    assert asker.answer(again_id, said, **told, by=REQUESTER, roles=FINANCE) is Answered.DENIED
    assert asker.answer(again_id, said, **told, by="fay", roles=FINANCE) is Answered.ANSWERED
    assert asker.audit()[-1]["asked_of"] == str(job_id)


def test_a_door_of_the_version_before_tells_no_roles_and_is_taken_to_have_none(
    asker: Asker,
) -> None:
    job_id = in_doubt(asker, for_finance(), by="fred", roles=FINANCE)
    with asker.doors.as_tenant(asker.tenant_id) as tx:
        found = tx.execute(
            text("select stepwell.answer_wait(:tenant, :job, 2, 2, '{}', 'fay')"),
            {"tenant": asker.tenant_id, "job": job_id},
        )
        assert found.scalar_one() == "denied"


def test_another_call_of_a_fork_is_not_one_of_those_who_were_asked_about_the_first(
    asker: Asker,
) -> None:
    job_id = in_doubt(asker, for_finance(), by="fred", roles=FINANCE)
    _, fork = asker.fork(job_id, 1)
    assert asker.commit(asker.take(fork, 1), plan=(call(1),)) is not None
    assert asker.park(asker.take(fork, 2), IN_DOUBT) is Parked.PARKED
    said = {"decision": "again"}
    assert asker.answer(fork, said, seq=2, by="eve", roles=NOBODY) is Answered.ANSWERED
    assert [line["kind"] for line in asker.audit()][-1] != "approval.reconciled"


def test_who_lets_through_what_a_guard_has_halted_is_a_line_of_the_audit(asker: Asker) -> None:
    shown = {"ask": "May it?", "stage": "tool.args", "reason": "too often", "args": {"a": 1}}
    job_id = asker.put_to_sleep(Wait(WaitKind.REVIEW, "guard", prompt=shown))
    said = {"decision": "continue"}
    assert asker.answer(job_id, said, by="eve", roles=FINANCE) is Answered.ANSWERED
    (line,) = asker.audit()
    assert (line["kind"], line["by"], line["roles"]) == ("review.decided", "eve", ["finance"])
    assert (line["stage"], line["reason"], line["decision"]) == (
        "tool.args",
        "too often",
        "continue",
    )
    assert line["shown_sha256"] == sha256({"a": 1})
    other = asker.put_to_sleep(Wait(WaitKind.REVIEW, "step_gone", prompt={"ask": "May it?"}))
    assert asker.answer(other, said, by="eve", roles=FINANCE) is Answered.ANSWERED
    assert len(asker.audit()) == 1
    assert asker.verify().is_whole

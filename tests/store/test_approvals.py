"""Approvals: a call waits for people, and begins once, under a yes to exactly what it is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from scheduler.waking import wake
from store.approvals import Became
from store.doors import Doors
from store.states import ApprovalState, Decision, JobStatus, StepState, Tier, WaitKind
from store.transitions import Parked, Start, Wait
from tests.asking import FINANCE, NOBODY, REQUESTER, Asker, asking, for_finance, gated, sha256
from tests.running import at_once
from tests.stepping import FAILED, MODEL, OPERATOR, call


@pytest.fixture
def asker(doors: Doors, tenant: UUID) -> Asker:
    return Asker(doors, tenant)


# --- asking ---------------------------------------------------------------------------------------


def test_a_call_that_needs_a_yes_is_born_waiting_and_the_free_ones_beside_it_run(
    asker: Asker,
) -> None:
    job_id = asker.plan(gated(), call(2))
    assert asker.states(job_id)[1:] == [StepState.WAITING, StepState.READY]
    asked, job = asker.approval(job_id), asker.job(job_id)
    assert (asked.tool, asked.args, asked.state) == ("refund", {"amount": 120}, "pending")
    assert (asked.reasons, asked.rules) == (["More than 100."], ["refund.large"])
    assert (job.status, job.waiting_for) == (JobStatus.RUNNING, None)

    asker.join(asker.take(job_id, 3))
    job = asker.job(job_id)
    assert (job.status, job.waiting_for) == (JobStatus.INPUT_REQUIRED, "approval")
    assert job.status_until == asked.expires_at
    assert "step.waiting" in asker.story(job_id)
    asker.check_approvals(job_id)


def test_a_job_whose_calls_all_wait_asks_at_once(asker: Asker) -> None:
    job_id = asker.plan(gated(), gated(for_finance(), 2))
    assert asker.job(job_id).status is JobStatus.INPUT_REQUIRED
    asker.check_approvals(job_id)


def test_a_claimed_step_can_be_parked_for_a_yes(asker: Asker) -> None:
    job_id = asker.plan(call(1))
    question = asking()
    wait = Wait(WaitKind.APPROVAL, "refund", wake_in_s=60.0, approval=question.as_json())
    assert asker.park(asker.take(job_id, 2), wait) is Parked.PARKED
    assert asker.approval(job_id).args_sha256 == question.args_sha256
    asker.check_approvals(job_id)
    assert asker.decide(job_id) is Became.GRANTED
    assert asker.start_effect(asker.granted(asker.take(job_id, 2))) is Start.GO
    asker.check_approvals(job_id)


# --- who may decide -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "by", "roles", "became"),
    [
        (asking(), REQUESTER, NOBODY, Became.GRANTED),
        (asking(), "olga", OPERATOR, Became.GRANTED),
        (asking(), "fred", FINANCE, Became.DENIED),
        (for_finance(), "fred", FINANCE, Became.GRANTED),
        (for_finance(), "fred", NOBODY, Became.DENIED),
        (for_finance(), "olga", OPERATOR, Became.DENIED),
        # Whoever asks does not also say yes, whatever role they have.
        (for_finance(), REQUESTER, FINANCE, Became.DENIED),
        (asking(tier=Tier.APPROVE), "anybody", NOBODY, Became.GRANTED),
        (asking(tier=Tier.APPROVE), REQUESTER, NOBODY, Became.DENIED),
    ],
)
@pytest.mark.parametrize("decision", [Decision.APPROVE, Decision.REJECT, Decision.RESPOND])
def test_only_those_decide_who_may(
    asker: Asker, question: Any, by: str, roles: frozenset[str], became: Became, decision: Decision
) -> None:
    job_id = asker.plan(gated(question))
    found = asker.decide(job_id, decision, by=by, roles=roles)
    if became is Became.DENIED:
        assert found is Became.DENIED
        assert asker.decisions(job_id) == []
        assert asker.states(job_id)[1] is StepState.WAITING
    else:
        assert found is not Became.DENIED
        assert asker.states(job_id)[1] is StepState.READY
    asker.check_approvals(job_id)


def test_a_quorum_is_one_of_different_people(asker: Asker) -> None:
    job_id = asker.plan(gated(for_finance(quorum=2)))
    assert asker.decide(job_id, by="fred", roles=FINANCE) is Became.COUNTED
    assert asker.decide(job_id, by="fred", roles=FINANCE) is Became.AGAIN
    assert asker.states(job_id)[1] is StepState.WAITING
    assert asker.decide(job_id, by="fay", roles=FINANCE) is Became.GRANTED
    assert asker.states(job_id)[1] is StepState.READY
    assert [each.decided_by for each in asker.decisions(job_id)] == ["fred", "fay"]
    asker.check_approvals(job_id)


def test_one_who_says_no_is_enough(asker: Asker) -> None:
    job_id = asker.plan(gated(for_finance(quorum=2)))
    asker.decide(job_id, by="fred", roles=FINANCE)
    said = asker.decide(job_id, Decision.REJECT, by="fay", roles=FINANCE, reason="Not ours.")
    assert said is Became.REJECTED
    held = asker.take(job_id, 2)
    assert held.woken is not None
    assert held.woken.result == {"decision": "reject", "reason": "Not ours.", "answer": None}
    assert asker.start_effect(asker.granted(held)) is Start.ASK
    asker.check_approvals(job_id)


# --- what it is given for -------------------------------------------------------------------------


def test_a_decision_for_other_arguments_than_are_asked_about_is_refused(asker: Asker) -> None:
    job_id = asker.plan(gated())
    assert asker.decide(job_id, shown={"amount": 1}) is Became.OTHER
    assert asker.decisions(job_id) == []
    assert asker.decide(job_id) is Became.GRANTED
    assert asker.decide(job_id) is Became.CLOSED


@pytest.mark.parametrize("change", ["args_sha256", "tool_sha256"])
def test_a_yes_to_one_call_does_not_begin_another(asker: Asker, change: str) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id)
    held = asker.granted(asker.take(job_id, 2))
    assert held.granted is not None
    other = replace(held, granted=replace(held.granted, **{change: "f" * 64}))
    assert asker.start_effect(other) is Start.ASK
    assert asker.step(job_id, 2).effect_epoch is None
    assert asker.start_effect(held) is Start.GO


def test_a_call_about_which_people_were_asked_does_not_begin_without_their_yes(
    asker: Asker,
) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id, Decision.RESPOND, answer=7)
    held = asker.take(job_id, 2)
    # Neither by a worker that knows nothing of approvals, nor by one that makes one up.
    assert asker.start_effect(held) is Start.ASK
    invented = replace(asker.approval(job_id), state=ApprovalState.GRANTED)
    assert asker.start_effect(replace(held, granted=invented)) is Start.ASK
    elsewhere = asker.plan(call(1))
    forged = replace(asker.take(elsewhere, 2), granted=invented)
    assert asker.start_effect(forged) is Start.ASK


def test_a_yes_is_consumed_once_and_a_call_that_is_begun_again_goes_on_under_it(
    asker: Asker,
) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id)
    first = asker.start_worker()
    held = asker.claim(job_id, 2, first)
    assert held is not None
    assert asker.start_effect(asker.granted(held)) is Start.GO
    consumed = asker.approval(job_id)
    assert (consumed.consumed_epoch, consumed.consumed_at is None) == (1, False)
    asker.lose(first)
    again = asker.granted(asker.take(job_id, 2))
    assert asker.start_effect(again) is Start.GO
    assert asker.start_effect(asker.granted(held)) is None, "a zombie begins nothing"
    assert asker.approval(job_id) == consumed
    kinds = [line["kind"] for line in asker.audit()]
    assert kinds == ["approval.decision", "approval.decided", "approval.consumed"]
    asker.check_approvals(job_id)


def test_no_fork_and_no_replay_takes_a_yes_along(asker: Asker) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id)
    held = asker.granted(asker.take(job_id, 2))
    asker.start_effect(held)
    asker.commit(held, state=StepState.FAILED, error={"class": "bug"}, ending=FAILED)
    for _, new_id in (asker.fork(job_id, 2), asker.replay(job_id)):
        assert asker.approvals(new_id) == []
        again = asker.granted(asker.take(new_id, 2))
        assert again.granted is None
        assert asker.start_effect(replace(again, granted=held.granted)) is Start.ASK


# --- edit, remember, expire, stop -----------------------------------------------------------------


def test_an_edit_asks_about_the_new_arguments_and_whoever_may_says_yes_with_it(
    asker: Asker,
) -> None:
    job_id, fewer = asker.plan(gated()), {"amount": 80}
    said = asker.decide(job_id, Decision.EDIT, edited=asking(fewer))
    assert said is Became.GRANTED
    first, second = asker.approvals(job_id)
    assert (first.state, second.state) == (ApprovalState.EDITED, ApprovalState.GRANTED)
    held = asker.granted(asker.take(job_id, 2))
    assert held.granted is not None
    assert held.granted.args == fewer
    assert asker.start_effect(replace(held, granted=first)) is Start.ASK
    assert asker.start_effect(held) is Start.GO
    asker.check_approvals(job_id)


def test_an_edit_to_a_higher_tier_needs_that_tier_and_earlier_words_do_not_count(
    asker: Asker,
) -> None:
    job_id = asker.plan(gated(for_finance(quorum=2)))
    asker.decide(job_id, by="fred", roles=FINANCE)
    more = {"amount": 9000}
    edited = for_finance(more, quorum=2)
    said = asker.decide(job_id, Decision.EDIT, by="fay", roles=FINANCE, edited=edited)
    assert said is Became.EDITED
    assert asker.states(job_id)[1] is StepState.WAITING
    assert asker.decide(job_id, by="finn", roles=FINANCE) is Became.CLOSED
    assert asker.decide(job_id, by="finn", roles=FINANCE, n=2) is Became.OTHER
    assert asker.decide(job_id, by="finn", roles=FINANCE, n=2, shown=more) is Became.GRANTED

    confirmed = asker.plan(gated())
    said = asker.decide(confirmed, Decision.EDIT, edited=for_finance(more))
    assert said is Became.EDITED, "whoever asked cannot approve"
    assert asker.decide(confirmed, n=2, shown=more) is Became.DENIED
    assert asker.decide(confirmed, n=2, shown=more, by="fred", roles=FINANCE) is Became.GRANTED
    for each in (job_id, confirmed):
        asker.check_approvals(each)


def test_a_call_that_was_remembered_needs_no_other_word_in_this_job(asker: Asker) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id, remember=True)
    held = asker.granted(asker.take(job_id, 2))
    asker.start_effect(held)
    asker.join(held)
    others = (asking({"amount": 121}), asking(tool_sha256="8" * 64), for_finance())
    model = asker.take(job_id, 3)
    asker.commit(model, plan=(gated(), *(gated(each) for each in others)))
    assert asker.states(job_id)[3:] == [StepState.READY, *[StepState.WAITING] * 3]
    again = asker.granted(asker.take(job_id, 4))
    assert asker.start_effect(again) is Start.GO
    assert [each.consumed_epoch for each in asker.approvals(job_id)[:2]] == [1, 1]
    asker.check_approvals(job_id)
    assert asker.states(asker.plan(gated()))[1] is StepState.WAITING, "another job asks"


@pytest.mark.parametrize(
    ("fallback", "state", "start"),
    [
        (Decision.REJECT, ApprovalState.REJECTED, Start.ASK),
        (Decision.APPROVE, ApprovalState.GRANTED, Start.GO),
    ],
)
def test_what_nobody_decides_about_comes_to_its_fallback(
    asker: Asker, fallback: Decision, state: ApprovalState, start: Start
) -> None:
    job_id = asker.plan(gated(asking(fallback=fallback)))
    assert asker.wake() == 0
    assert asker.let_expire(job_id) == 1
    assert asker.decide(job_id) is Became.CLOSED
    asked = asker.approval(job_id)
    assert (asked.state, asked.ending) == (state, "expired")
    held = asker.take(job_id, 2)
    assert held.woken is not None
    assert held.woken.result["decision"] == fallback.value
    assert asker.start_effect(asker.granted(held)) is start
    asker.check_approvals(job_id)


def test_a_decision_that_comes_after_the_time_does_not_count(asker: Asker) -> None:
    job_id = asker.plan(gated())
    asker.set_back("approvals", "expires_at", None, job_id=job_id)
    assert asker.decide(job_id) is Became.CLOSED
    assert asker.decisions(job_id) == []


def test_a_job_that_is_cancelled_takes_its_questions_with_it(asker: Asker) -> None:
    job_id = asker.plan(gated())
    asker.cancel(job_id)
    assert asker.approval(job_id).state is ApprovalState.CANCELLED
    assert asker.decide(job_id) is Became.CLOSED
    assert asker.job(job_id).status is JobStatus.CANCELLED


# --- at once --------------------------------------------------------------------------------------


def test_many_people_at_once_grant_once(asker: Asker) -> None:
    job_id = asker.plan(gated(for_finance(quorum=3)))
    said = at_once(
        [partial(asker.decide, job_id, by=f"p{n % 6}", roles=FINANCE) for n in range(12)]
    )
    assert said.count(Became.GRANTED) == 1
    assert said.count(Became.COUNTED) == 2
    assert len(asker.decisions(job_id)) == 3
    assert len({each.decided_by for each in asker.decisions(job_id)}) == 3
    asker.check_approvals(job_id)


def test_a_yes_a_no_an_edit_a_cancel_and_the_clock_at_once_come_to_one_end(asker: Asker) -> None:
    for _ in range(10):
        job_id = asker.plan(gated(), call(2))
        at_once(
            [
                partial(asker.decide, job_id),
                partial(asker.decide, job_id, Decision.REJECT, by="olga", roles=OPERATOR),
                partial(
                    asker.decide,
                    job_id,
                    Decision.EDIT,
                    by="oleg",
                    roles=OPERATOR,
                    edited=asking({"amount": 5}),
                ),
                partial(asker.let_expire, job_id),
                lambda job_id=job_id: asker.join(asker.take(job_id, 3)),
            ]
        )
        # A job that somebody held was left for the next round.
        asker.wake()
        ended = [each for each in asker.approvals(job_id) if each.state is not ApprovalState.EDITED]
        assert len(ended) == 1
        assert asker.states(job_id)[1:3] == [StepState.READY, StepState.COMMITTED]
        asker.check_approvals(job_id)


def test_of_many_workers_that_begin_one_call_one_consumes(asker: Asker) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id)
    workers = [asker.start_worker() for _ in range(8)]
    held = [each for each in at_once([partial(asker.claim, job_id, 2, w) for w in workers]) if each]
    assert len(held) == 1
    begun = at_once([partial(asker.start_effect, asker.granted(held[0])) for _ in range(8)])
    assert begun == [Start.GO] * 8
    assert [line["kind"] for line in asker.audit()].count("approval.consumed") == 1


def test_schedulers_at_once_expire_the_questions_of_two_tenants_once(
    asker: Asker, doors: Doors, other_tenant: UUID
) -> None:
    other = Asker(doors, other_tenant)
    jobs = [(each, each.plan(gated())) for each in (asker, other) for _ in range(10)]
    for each, job_id in jobs:
        each.set_back("approvals", "expires_at", None, job_id=job_id)
        each.come_due(job_id)
    expired = at_once([partial(wake, doors) for _ in range(4)])
    assert sum(expired) + wake(doors) == 20
    for each, job_id in jobs:
        each.check_approvals(job_id)


# --- what nobody can do ---------------------------------------------------------------------------


def test_what_was_decided_cannot_be_written_again(asker: Asker, doors: Doors) -> None:
    job_id = asker.plan(gated())
    asker.decide(job_id)
    for opened in (doors.as_tenant(asker.tenant_id), doors.as_operator("test")):
        with pytest.raises(ProgrammingError, match="permission denied"), opened as tx:
            tx.execute(text("update stepwell.decisions set decided_by = 'somebody'"))
    unearned = (
        "update stepwell.approvals set state = 'rejected', consumed_at = now(), consumed_epoch = 1"
    )
    law = "only_a_granted_approval_is_consumed"
    with pytest.raises(IntegrityError, match=law), doors.as_operator("test") as tx:
        tx.execute(text(unearned))


def test_another_tenant_sees_none_of_it(asker: Asker, doors: Doors, other_tenant: UUID) -> None:
    job_id = asker.plan(gated())
    stranger = Asker(doors, other_tenant)
    assert stranger.approvals(job_id) == []
    assert stranger.decide(job_id) is Became.MISSING
    assert asker.approval(job_id).state is ApprovalState.PENDING
    assert sha256({"amount": 120}) == asker.approval(job_id).args_sha256
    assert MODEL.approval is None

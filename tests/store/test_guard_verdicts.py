"""What guards said is written with the step that they said it of, or not at all."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from store import events, guard_verdicts
from store.doors import Doors
from store.rows import GuardVerdictRow
from store.states import GuardStage, GuardVerdict, WaitKind
from store.transitions import Parked, Wait
from tests.stepping import MODEL, Stepper, child, delegate

MASKED = {
    "stage": "tool.result", "guard": "secrets", "verdict": "replace",
    "reason": "It holds secrets.", "found": {"kinds": {"AWS key": 2}},
}  # fmt: skip
COUNTED = {"stage": "tool.args", "guard": "*", "verdict": "allow", "count": 4}


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def rows(stepper: Stepper, job_id: UUID) -> list[GuardVerdictRow]:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        return guard_verdicts.list_of(tx, job_id)


def event(seq: int, *said: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"seq": seq, "guards": list(said)} | more


def test_a_commit_brings_what_was_said_and_the_story_tells_what_matters(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id), event=event(1, COUNTED, MASKED), plan=(MODEL,))
    counted, masked = rows(stepper, job_id)
    assert (counted.stage, counted.verdict, counted.count) == (
        GuardStage.TOOL_ARGS, GuardVerdict.ALLOW, 4,
    )  # fmt: skip
    assert (masked.seq, masked.epoch, masked.n, masked.guard) == (1, 1, 2, "secrets")
    assert masked.found == {"kinds": {"AWS key": 2}}
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        told = events.list_after(tx, job_id, 0)[-1]
    assert told.data == {"seq": 1, "guards": [MASKED]}


def test_a_zombie_writes_nothing_of_what_it_heard(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    worker = stepper.start_worker()
    old = stepper.take(job_id, worker_id=worker)
    stepper.lose(worker)
    stepper.take(job_id)
    assert stepper.commit(old, event=event(1, MASKED, taint=["table"])) is None
    assert rows(stepper, job_id) == []
    assert stepper.job(job_id).tainted_by == []


def test_a_park_brings_it_too_and_the_next_claim_adds_its_own(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    halted = MASKED | {"verdict": "halt"}
    wait = Wait(WaitKind.REVIEW, "guard", prompt={"ask": "May it?"}, guards=[halted])
    assert stepper.park(stepper.take(job_id), wait) is Parked.PARKED
    stepper.answer(job_id, {"decision": "continue"})
    stepper.commit(stepper.take(job_id), event=event(1, MASKED), plan=(MODEL,))
    assert [(r.epoch, r.verdict.value) for r in rows(stepper, job_id)] == [
        (1, "halt"),
        (2, "replace"),
    ]


def test_taint_stays_and_is_handed_down_once_each(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id, 1), event={"seq": 1, "taint": ["mail"]}, plan=(MODEL,))
    stepper.commit(
        stepper.take(job_id, 2), event={"seq": 2, "taint": ["table", "mail"]}, plan=(MODEL,)
    )
    assert stepper.job(job_id).tainted_by == ["mail", "table"]
    born = child()
    assert stepper.park(stepper.take(job_id, 3), delegate(born)) is Parked.PARKED
    assert stepper.job(born.id).tainted_by == ["mail", "table"]
    _, fork = stepper.fork(job_id, 3)
    assert stepper.job(fork).tainted_by == ["mail", "table"]


def test_what_children_have_read_is_known_to_the_step_that_asked(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    first, second = child(), child()
    assert stepper.park(stepper.take(job_id), delegate(first, second)) is Parked.PARKED
    stepper.commit(stepper.take(first.id), event={"seq": 1, "taint": ["mail"]}, plan=(MODEL,))
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        assert guard_verdicts.list_taint_of_children(tx, job_id, 1) == ["mail"]
        assert guard_verdicts.list_taint_of_children(tx, job_id, 2) == []


def test_what_was_said_before_the_first_step_has_number_nought(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        guard_verdicts.keep_first(tx, stepper.tenant_id, job_id, [MASKED | {"stage": "job.input"}])
    (row,) = rows(stepper, job_id)
    assert (row.seq, row.epoch, row.stage) == (0, 0, GuardStage.JOB_INPUT)


def test_another_tenant_sees_none_of_it(stepper: Stepper, other_tenant: UUID) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id), event=event(1, MASKED), plan=(MODEL,))
    with stepper.doors.as_tenant(other_tenant) as tx:
        assert guard_verdicts.list_of(tx, job_id) == []


def test_it_goes_with_its_job_and_cannot_be_rewritten(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id), event=event(1, MASKED), plan=(MODEL,))
    with (
        stepper.doors.as_tenant(stepper.tenant_id) as tx,
        pytest.raises(Exception, match="permission denied"),
    ):
        tx.execute(text("update stepwell.guard_verdicts set verdict = 'allow'"))
    with stepper.doors.as_operator("test") as tx:
        tx.execute(text("delete from stepwell.jobs where id = :id"), {"id": job_id})
        assert tx.execute(text("select count(*) from stepwell.guard_verdicts")).scalar_one() == 0


@pytest.mark.parametrize(
    ("said", "law"),
    [
        (MASKED | {"stage": "job.start"}, "guard_stage_is_known"),
        (MASKED | {"verdict": "maybe"}, "guard_verdict_is_known"),
        (MASKED | {"count": 2}, "only_allows_are_counted"),
    ],
)
def test_the_laws_of_the_table(stepper: Stepper, said: dict[str, Any], law: str) -> None:
    job_id = stepper.put_down()
    with (
        pytest.raises((IntegrityError, psycopg.Error), match=law),
        stepper.doors.as_tenant(stepper.tenant_id) as tx,
    ):
        guard_verdicts.keep_first(tx, stepper.tenant_id, job_id, [said])

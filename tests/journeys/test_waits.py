"""Jobs that wait, in real processes: nothing is held, and nothing is lost or done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from store.rows import JobRow
from store.states import JobStatus, StepState
from tests.conftest import Database
from tests.housing import answer, decide, hand_of, pending
from tests.processes import Crew, Member, Viewer
from tests.programs import as_input
from tests.running import eventually

SIGNAL = {"wait": "WaitFor", "signal": "paid"}
SLOTS = 4
PARKED = 500


@pytest.fixture
def crew(tmp_path: Path, database: Database, redis_url: str) -> Iterator[Crew]:
    made = Crew(tmp_path, database, redis_url)
    yield made
    made.end()


@pytest.fixture
def viewer(crew: Crew) -> Iterator[Viewer]:
    desk = crew.open_desk()
    yield Viewer(desk)
    desk.close()


def start(crew: Crew, workers: int = 2, slots: int = 8) -> list[Member]:
    crew.start_scheduler()
    started = [crew.start_worker(slots=slots) for _ in range(workers)]
    crew.wait_until_ready()
    return started


def submit_wishes(viewer: Viewer, *waits: dict[str, Any]) -> UUID:
    return viewer.submit("wishing", {"waits": list(waits)})


def wait_for(viewer: Viewer, job_id: UUID, is_so: Callable[[JobRow], bool]) -> JobRow:
    eventually(lambda: is_so(viewer.job(job_id)), 60)
    return viewer.job(job_id)


def wait_for_question(viewer: Viewer, job_id: UUID, kind: str) -> None:
    wait_for(viewer, job_id, lambda job: job.waiting_for == kind)


def finish(viewer: Viewer, job_id: UUID, output: Any) -> None:
    job = viewer.wait_for_end(job_id, 60)
    assert (job.status, job.output) == (JobStatus.COMPLETED, output)
    hand_of(viewer).check_books(job_id)


def count(viewer: Viewer, where: str) -> int:
    with viewer.desk.doors.as_operator("test") as tx:
        found = tx.execute(text(f"select count(*) from stepwell.checkpoints where {where}"))
        return int(found.scalar_one())


# --- waiting --------------------------------------------------------------------------------------


def test_a_job_sleeps_listens_and_asks_while_all_workers_die(crew: Crew, viewer: Viewer) -> None:
    workers = start(crew)
    signalled = submit_wishes(viewer, {"wait": "Sleep", "seconds": 0.2, "value": "rested"}, SIGNAL)
    asked = viewer.submit(
        "wisher", as_input([("wish", {"wait": {"wait": "AskUser", "question": "Which way?"}})])
    )
    wait_for(viewer, signalled, lambda job: job.status_reason == "signal")
    wait_for_question(viewer, asked, "question")
    for worker in workers:
        worker.kill()
    assert hand_of(viewer).send(signalled, {"eur": 7}) == "accepted"
    answer(viewer, asked, "left")

    crew.start_worker()
    finish(viewer, signalled, {"got": {"eur": 7}})
    finish(viewer, asked, "done: left")
    assert crew.effects() == [f"wish {signalled}:1", 'got "rested"']


def test_five_hundred_parked_jobs_leave_a_worker_of_four_slots_free_and_all_wake(
    crew: Crew, viewer: Viewer
) -> None:
    start(crew, workers=1, slots=SLOTS)
    jobs = [submit_wishes(viewer, SIGNAL) for _ in range(PARKED)]
    eventually(lambda: count(viewer, "state = 'waiting'") == PARKED, 90)
    assert count(viewer, "state = 'running' or worker_id is not null") == 0
    finish(viewer, viewer.submit("count", {}), 20)

    hand = hand_of(viewer)
    for n, job_id in enumerate(jobs):
        assert hand.send(job_id, n) == "accepted"
    eventually(lambda: count(viewer, "name = 'step.wishing.tell_wish' and output is not null")
               == PARKED, 90)  # fmt: skip
    for n, job_id in enumerate(jobs):
        assert viewer.job(job_id).output == {"got": n}
    assert len(crew.effects("wish")) == PARKED


# --- effects --------------------------------------------------------------------------------------


def test_a_payment_whose_worker_was_killed_in_the_middle_waits_for_a_persons_word(
    crew: Crew, viewer: Viewer
) -> None:
    (worker,) = start(crew, workers=1)
    (crew.folder / "say-world").write_text("hold")
    call = as_input([("pay", {"amount": 7})])
    happened, again = viewer.submit("payer", call), viewer.submit("payer", call)
    eventually(lambda: len(crew.effects("pay")) == 2, 60)
    worker.kill()
    crew.open_gate("pay")
    crew.start_worker()
    for job_id in (happened, again):
        wait_for_question(viewer, job_id, "reconcile")
    assert len(crew.effects("pay")) == 2, "nobody has paid a second time"
    decide(viewer, happened, "happened", result="receipt")
    decide(viewer, again, "again")
    finish(viewer, happened, "done: receipt")
    finish(viewer, again, "done: paid 7")
    assert len(crew.effects(f"pay 7 {happened}")) == 1
    assert len(crew.effects(f"pay 7 {again}")) == 2


# --- children -------------------------------------------------------------------------------------


def test_cancelling_a_parent_ends_the_children_that_run_in_other_processes(
    crew: Crew, viewer: Viewer
) -> None:
    start(crew)
    gated = {"agent": "walk", "input": {"gates": {"second": "open"}}}
    job_id = submit_wishes(viewer, {"wait": "Delegate", "children": [gated] * 3})
    eventually(lambda: len(crew.effects("begin second")) == 3, 60)
    hand_of(viewer).cancel(job_id)
    assert viewer.job(job_id).status is JobStatus.CANCELLED
    crew.open_gate("open")
    for child in hand_of(viewer).children(job_id):
        assert viewer.wait_for_end(child.id).status is JobStatus.CANCELLED
        states = [step.state for step in viewer.steps(child.id)]
        assert states == [StepState.COMMITTED] * 2
        hand_of(viewer).check_books(child.id)


# --- deploys --------------------------------------------------------------------------------------


def test_a_deploy_leaves_a_job_to_the_old_worker_and_asks_when_that_is_gone(
    crew: Crew, viewer: Viewer
) -> None:
    (old,) = start(crew, workers=1)
    left, orphaned = (
        viewer.submit("deployed", {"gates": {"first": "open"} | gates})
        for gates in ({}, {"second": "shut"})
    )
    eventually(lambda: len(crew.effects("begin first")) == 2, 60)
    new = crew.start_worker(TEST_DEPLOY="new").wait_for("ready")
    crew.open_gate("open")
    finish(viewer, left, ["first", "second"])
    eventually(lambda: crew.effects(f"begin second {orphaned}"), 30)
    assert hand_of(viewer).waits(left) == []

    old.kill()
    wait_for_question(viewer, orphaned, "review")
    (asked,) = pending(viewer, orphaned)
    assert asked.name == "agent_changed"
    decide(viewer, orphaned, "continue")
    crew.open_gate("shut")
    finish(viewer, orphaned, ["first", "second", "third"])
    assert new.process.poll() is None

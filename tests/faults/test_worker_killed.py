"""kill -9, SIGSTOP and SIGTERM in the middle of a step: it goes on there, and is committed once."""

from __future__ import annotations

import os
import signal
from time import monotonic
from uuid import UUID

from sqlalchemy import text

from store import waits
from store.states import JobStatus, StepState
from tests.processes import Crew, Member, Viewer
from tests.programs import as_input
from tests.running import eventually

LEASE_S = 4.0
RESUMED_S_MAX = 8.0


def holder_of(crew: Crew, viewer: Viewer, job_id: UUID) -> Member:
    """The process that runs a step of this job; a worker's name ends with its pid."""
    with viewer.desk.doors.as_operator("test") as tx:
        name = tx.execute(
            text(
                "select w.name from stepwell.workers w join stepwell.checkpoints c"
                " on c.worker_id = w.id where c.job_id = :job and c.state = 'running' limit 1"
            ),
            {"job": job_id},
        ).scalar_one()
    pid = int(name.rpartition(":")[2])
    return next(member for member in crew.members if member.process.pid == pid)


def start_two_workers(crew: Crew) -> None:
    crew.start_scheduler()
    crew.start_worker()
    crew.start_worker()
    crew.wait_until_ready()


def test_a_killed_workers_step_goes_on_elsewhere_within_seconds(crew: Crew, viewer: Viewer) -> None:
    start_two_workers(crew)
    job_id = viewer.submit("walk", {"gates": {"third": "open"}})
    eventually(lambda: crew.effects("begin third"), 30)
    holder_of(crew, viewer, job_id).kill()
    killed_at = monotonic()
    crew.open_gate("open")
    job = viewer.wait_for_end(job_id)
    took_s = monotonic() - killed_at

    assert job.status is JobStatus.COMPLETED
    assert job.output == ["first", "second", "third", "fourth"]
    assert took_s < RESUMED_S_MAX, f"it took {took_s:.1f} s"
    # Steps that were committed are not run again; the one that was torn is, under the same key.
    third = f"third {job_id}:3"
    assert crew.effects("begin") == [
        f"begin first {job_id}:1",
        f"begin second {job_id}:2",
        f"begin {third}",
        f"begin {third}",
        f"begin fourth {job_id}:4",
    ]
    assert crew.effects("end third") == [f"end {third}"]
    steps = viewer.steps(job_id)
    assert [(step.state, step.epoch, step.losses) for step in steps] == [
        (StepState.COMMITTED, 1, 0),
        (StepState.COMMITTED, 1, 0),
        (StepState.COMMITTED, 2, 1),
        (StepState.COMMITTED, 1, 0),
    ]
    viewer.check_history(job_id)


def test_of_parallel_calls_only_the_torn_ones_run_again_and_money_is_not_taken_twice(
    crew: Crew, viewer: Viewer
) -> None:
    start_two_workers(crew)
    posted = viewer.submit(
        "scripted", as_input([("post", {"what": "a"}), ("post", {"what": "b", "gate": "open"})])
    )
    eventually(lambda: crew.effects("end a") and crew.effects("begin b"), 30)
    eventually(lambda: viewer.steps(posted)[1].state is StepState.COMMITTED)
    charged = viewer.submit("scripted", as_input([("charge", {"gate": "open"})]))
    eventually(lambda: crew.effects("begin charge"), 30)
    holders = [holder_of(crew, viewer, job_id) for job_id in (posted, charged)]
    for holder in holders:
        if holder.process.poll() is None:
            holder.kill()
    if not [m for m in crew.members if "worker" in m.log.name and m.process.poll() is None]:
        crew.start_worker()
    crew.open_gate("open")

    assert viewer.wait_for_end(posted).status is JobStatus.COMPLETED
    assert crew.effects("begin a") == [f"begin a {posted}:2"]
    assert crew.effects("begin b") == [f"begin b {posted}:3"] * 2
    assert crew.effects("end b") == [f"end b {posted}:3"]
    viewer.check_history(posted)

    eventually(lambda: viewer.job(charged).status is JobStatus.INPUT_REQUIRED, 30)
    assert viewer.job(charged).waiting_for == "reconcile"
    assert crew.effects("begin charge") == [f"begin charge {charged}:2"]
    assert crew.effects("end charge") == []
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        (asked,) = waits.list_questions(tx, job_id=charged)
        said = {"decision": "happened", "result": "charged"}
        waits.answer(tx, viewer.tenant_id, charged, asked.seq, asked.n, said, by="test")
    assert viewer.wait_for_end(charged).status is JobStatus.COMPLETED
    assert crew.effects("begin charge") == [f"begin charge {charged}:2"]
    viewer.check_history(charged)


def test_a_frozen_worker_wakes_up_fenced_and_serves_again_under_a_new_name(
    crew: Crew, viewer: Viewer
) -> None:
    start_two_workers(crew)
    call = ("keep", {"name": "result", "text": "kept", "gate": "open"})
    job_id = viewer.submit("scripted", as_input([call]))
    eventually(lambda: crew.effects("begin keep"), 30)
    zombie = holder_of(crew, viewer, job_id)
    os.kill(zombie.process.pid, signal.SIGSTOP)
    eventually(lambda: len(crew.effects("begin keep")) == 2, LEASE_S + RESUMED_S_MAX)
    crew.open_gate("open")
    job = viewer.wait_for_end(job_id)
    assert job.status is JobStatus.COMPLETED
    steps, kept = viewer.steps(job_id), viewer.artifacts(job_id)

    os.kill(zombie.process.pid, signal.SIGCONT)
    zombie.wait_for("claim was taken over", 20)
    zombie.wait_for("incarnation replaced", 20)
    assert viewer.job(job_id) == job
    assert viewer.steps(job_id) == steps
    assert viewer.artifacts(job_id) == kept, "its late bytes must not replace the committed ones"
    assert steps[1].output["content"] == {"artifact": str(kept[0][0].id)}
    viewer.check_history(job_id)

    for member in crew.members:
        if member is not zombie and "worker" in member.log.name:
            member.kill()
    again = viewer.submit("walk", {})
    assert viewer.wait_for_end(again).status is JobStatus.COMPLETED


def test_a_worker_that_is_asked_to_leave_ends_what_it_began_and_begins_nothing(
    crew: Crew, viewer: Viewer
) -> None:
    crew.start_scheduler()
    leaving = crew.start_worker()
    crew.wait_until_ready()
    job_id = viewer.submit("walk", {"gates": {"second": "open"}})
    eventually(lambda: crew.effects("begin second"), 30)
    leaving.signal(signal.SIGTERM)
    eventually(lambda: [row for row in live_workers(viewer) if row == "draining"])
    waiting = viewer.submit("walk", {})
    crew.open_gate("open")
    assert leaving.process.wait(timeout=15) == 0
    assert "worker stopped" in leaving.said()
    step = viewer.steps(job_id)[1]
    assert (step.state, step.epoch, step.losses) == (StepState.COMMITTED, 1, 0)
    assert not viewer.job(job_id).status.is_ended, "the rest is for others"
    assert viewer.job(waiting).status is JobStatus.QUEUED
    assert live_workers(viewer) == []

    crew.start_worker()
    for each in (job_id, waiting):
        assert viewer.wait_for_end(each, 60).status is JobStatus.COMPLETED
        viewer.check_history(each)
    assert all(s.losses == s.attempts == 0 for s in viewer.steps(job_id))


def test_what_does_not_end_in_time_is_handed_back_without_costing_a_try(
    crew: Crew, viewer: Viewer
) -> None:
    start_two_workers(crew)
    job_id = viewer.submit("scripted", as_input([("post", {"what": "a", "gate": "open"})]))
    eventually(lambda: crew.effects("begin a"), 30)
    leaving = holder_of(crew, viewer, job_id)
    leaving.signal(signal.SIGTERM)
    assert leaving.process.wait(timeout=20) == 0
    eventually(lambda: len(crew.effects("begin a")) == 2, 5)
    crew.open_gate("open")
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    step = viewer.steps(job_id)[1]
    assert (step.epoch, step.attempts, step.losses) == (2, 0, 0)
    assert crew.effects("begin a") == [f"begin a {job_id}:2"] * 2
    viewer.check_history(job_id)


def live_workers(viewer: Viewer) -> list[str]:
    from store import workers

    with viewer.desk.doors.as_operator("test") as tx:
        return [row.state.value for row in workers.list_live(tx)]

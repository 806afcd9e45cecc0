"""A worker that silently stopped consuming notices, hands back what it holds, and begins again."""

from __future__ import annotations

import signal
import socket
from time import monotonic
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from broker.app import create_app
from broker.lanes import lanes_of
from broker.settings import BrokerSettings
from store.states import JobStatus, StepState, Work
from tests.processes import Crew, Member, Viewer
from tests.programs import as_input
from tests.running import eventually

DEAF_AFTER_S, GRACE_S = 2.0, 1.0

# A worker with less patience than usual.
WORKER = f"""
import sys
from jobs.lifecycle import leaving
from jobs.worker import main
leaving.GRACE_S = {GRACE_S}
sys.exit(main(["--work", "waits", "--slots", "4"]))
"""


@pytest.fixture
def worker(crew: Crew) -> Member:
    patience = {"STEPWELL_DEAF_AFTER_S": str(DEAF_AFTER_S)}
    return crew.start("worker", "-c", WORKER, **patience).wait_for("worker ready")


def deafen(worker: Member, redis_url: str) -> float:
    """Make it listen to none of its lanes, as if it had never come back to them."""
    app = create_app(BrokerSettings(redis_url=SecretStr(redis_url)))
    hostname = f"waits-{worker.process.pid}@{socket.gethostname()}"
    for lane in lanes_of(Work.WAITS):
        said = app.control.cancel_consumer(lane, destination=[hostname], reply=True, timeout=10)
        assert said, "the worker has to have heard that"
    app.close()
    return monotonic()


def starts(worker: Member) -> int:
    return worker.said().count("worker ready")


def test_a_worker_that_went_deaf_begins_again_and_does_what_was_waiting(
    crew: Crew, viewer: Viewer, redis_url: str, worker: Member
) -> None:
    deaf_at = deafen(worker, redis_url)
    job_id = viewer.submit("walk", {})
    eventually(lambda: viewer.steps(job_id)[0].state is StepState.COMMITTED, 60)
    print(f"deaf for {monotonic() - deaf_at:.1f} s, {DEAF_AFTER_S} s of them in doubt")
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    assert worker.process.poll() is None, "its supervisor has noticed nothing"
    assert (starts(worker), worker.said().count("worker restarts")) == (2, 1)
    assert "deaf: rings lie on the lanes" in worker.said()
    assert [s.epoch for s in viewer.steps(job_id)] == [1, 1, 1, 1]
    viewer.check_history(job_id)
    assert states(viewer) == ["live", "stopped"]


def test_what_it_held_is_handed_back_without_costing_a_try(
    crew: Crew, viewer: Viewer, redis_url: str, worker: Member
) -> None:
    crew.start_scheduler().wait_for("ready")
    held = viewer.submit("ticking", {"gate": "open"})
    eventually(lambda: crew.effects("tick"), 30)
    deafen(worker, redis_url)
    viewer.submit("walk", {})
    eventually(lambda: starts(worker) == 2, 60)
    crew.open_gate("open")
    assert viewer.wait_for_end(held).status is JobStatus.COMPLETED
    (step,) = viewer.steps(held)
    assert (step.epoch, step.attempts, step.losses) == (2, 0, 0)
    viewer.check_history(held)


def test_a_call_that_must_not_happen_twice_is_waited_for(
    crew: Crew, viewer: Viewer, redis_url: str, worker: Member
) -> None:
    crew.start_scheduler().wait_for("ready")
    job_id = viewer.submit("scripted", as_input([("charge", {"gate": "open"})]))
    eventually(lambda: crew.effects("begin charge"), 30)
    ticking = viewer.submit("ticking", {"gate": "open"})
    eventually(lambda: crew.effects("tick"), 30)
    deafen(worker, redis_url)
    waiting = viewer.submit("walk", {})
    worker.wait_for("step handed back", 60)
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: states(viewer) != ["draining"], 2.0)
    crew.open_gate("open")
    for each in (job_id, ticking, waiting):
        assert viewer.wait_for_end(each, 60).status is JobStatus.COMPLETED
    assert starts(worker) == 2
    assert crew.effects("begin charge") == [f"begin charge {job_id}:2"]
    assert viewer.steps(job_id)[1].epoch == 1


def test_one_that_is_told_to_go_while_it_begins_again_goes(
    crew: Crew, viewer: Viewer, redis_url: str, worker: Member
) -> None:
    job_id: UUID = viewer.submit("scripted", as_input([("charge", {"gate": "never"})]))
    eventually(lambda: crew.effects("begin charge"), 30)
    deafen(worker, redis_url)
    viewer.submit("walk", {})
    eventually(lambda: states(viewer) == ["draining"], 60)
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0
    assert "worker stopped" in worker.said()
    assert "worker restarts" not in worker.said()
    assert viewer.steps(job_id)[1].state is StepState.RUNNING


def states(viewer: Viewer) -> list[str]:
    """The states of all incarnations there ever were."""
    with viewer.desk.doors.as_operator("test") as tx:
        return sorted(tx.execute(text("select state from stepwell.workers")).scalars())

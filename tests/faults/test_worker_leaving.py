"""A worker that leaves leaves its lanes first: what is rung from then on, others hear at once.

There is no scheduler here, so nobody rings twice: a ring that is taken and dropped is a job that
never ends.
"""

from __future__ import annotations

import signal
from time import monotonic
from uuid import UUID

from redis import Redis
from sqlalchemy import text

from broker.embedded import PrivateValkey
from broker.lanes import lanes_of
from store.states import JobStatus, Work
from tests.processes import Crew, Member, Viewer
from tests.running import eventually

JOBS = 20
# A ring that was dropped is rung again after two seconds.
STARTED_S_MAX = 1.5


def is_draining(viewer: Viewer) -> bool:
    with viewer.desk.doors.as_operator("test") as tx:
        found = tx.execute(text("select count(*) from stepwell.workers where state = 'draining'"))
        return bool(found.scalar_one())


def begin_to_leave(crew: Crew, viewer: Viewer) -> tuple[Member, UUID]:
    """A worker on its way out, with a step that it waits for."""
    leaving = crew.start_worker().wait_for("worker ready")
    held = viewer.submit("walk", {"gates": {"first": "open"}})
    eventually(lambda: crew.effects("begin first"), 30)
    crew.start_worker()
    crew.wait_until_ready()
    leaving.signal(signal.SIGTERM)
    eventually(lambda: is_draining(viewer))
    return leaving, held


def waits_s(viewer: Viewer, jobs: list[UUID]) -> list[float]:
    """How long each job waited for its first step."""
    rows = [viewer.job(job_id) for job_id in jobs]
    return [(row.started_at - row.created_at).total_seconds() for row in rows if row.started_at]


def test_while_one_worker_drains_the_others_hear_every_ring(crew: Crew, viewer: Viewer) -> None:
    leaving, held = begin_to_leave(crew, viewer)
    jobs = [viewer.submit("walk", {}) for _ in range(JOBS)]
    eventually(lambda: len(waits_s(viewer, jobs)) == JOBS, 8)
    assert leaving.process.poll() is None, "it drains all the while"
    crew.open_gate("open")
    for job_id in (held, *jobs):
        assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
        assert [step.epoch for step in viewer.steps(job_id)] == [1, 1, 1, 1]
    print(f"the longest wait was {max(waits_s(viewer, jobs)):.3f} s")
    assert max(waits_s(viewer, jobs)) < STARTED_S_MAX


def test_a_ring_that_came_too_late_goes_back_to_its_lane(
    crew: Crew, viewer: Viewer, redis_url: str
) -> None:
    leaving = crew.start_worker().wait_for("worker ready")
    # Frozen, it still stands at the head of the lane, and is given the next ring.
    eventually(lambda: count_waiting(redis_url) == 1)
    leaving.signal(signal.SIGSTOP)
    job_id = viewer.submit("walk", {})
    with Redis.from_url(redis_url) as client:
        eventually(lambda: not any(client.llen(lane) for lane in lanes_of(Work.WAITS)))
    leaving.signal(signal.SIGTERM)
    leaving.signal(signal.SIGCONT)
    assert leaving.process.wait(20) == 0
    assert viewer.job(job_id).status is JobStatus.QUEUED
    crew.start_worker()
    assert viewer.wait_for_end(job_id, 60).status is JobStatus.COMPLETED


def test_without_redis_a_worker_leaves_as_quickly(crew: Crew, viewer: Viewer) -> None:
    with PrivateValkey(crew.folder / "redis") as own:
        leaving = crew.start_worker(STEPWELL_REDIS_URL=own.url).wait_for("worker ready")
    leaving.wait_for("Cannot connect to broker", 30)
    told_at = monotonic()
    leaving.signal(signal.SIGTERM)
    assert leaving.process.wait(20) == 0
    assert monotonic() - told_at < 8


def count_waiting(redis_url: str) -> int:
    """How many clients wait for a message."""
    with Redis.from_url(redis_url) as client:
        return int(client.info("clients")["blocked_clients"])

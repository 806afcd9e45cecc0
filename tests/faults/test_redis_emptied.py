"""Redis forgets everything, or dies: no job's outcome changes, it is only later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from broker.embedded import PrivateValkey
from store.states import JobStatus, StepState
from tests.conftest import Database
from tests.processes import Crew, Viewer
from tests.running import eventually


def test_emptied_in_the_middle_of_a_job_every_step_is_still_done_once(
    crew: Crew, viewer: Viewer, redis_url: str
) -> None:
    crew.start_scheduler()
    crew.start_worker(slots=3)
    crew.wait_until_ready()
    # More jobs than slots: some rings are in a hand, some on their way, some on the lane.
    jobs = [viewer.submit("walk", {"gates": {"second": "open"}}) for _ in range(8)]
    eventually(lambda: len(crew.effects("begin second")) == 3, 30)
    with Redis.from_url(redis_url) as client:
        client.flushall()
    crew.open_gate("open")
    for job_id in jobs:
        assert viewer.wait_for_end(job_id, 40).status is JobStatus.COMPLETED
        assert [s.epoch for s in viewer.steps(job_id)] == [1, 1, 1, 1]
        viewer.check_history(job_id)
    assert len(crew.effects("begin")) == len(set(crew.effects("begin"))) == 4 * len(jobs)


def test_jobs_whose_rings_were_lost_before_any_worker_came_are_done(
    crew: Crew, viewer: Viewer, redis_url: str
) -> None:
    jobs = [viewer.submit("walk", {}) for _ in range(5)]
    with Redis.from_url(redis_url) as client:
        assert client.llen("stepwell.default.waits") == 5
        client.flushall()
    crew.start_scheduler()
    crew.start_worker()
    for job_id in jobs:
        assert viewer.wait_for_end(job_id, 60).status is JobStatus.COMPLETED
    assert len(crew.effects("begin")) == 4 * len(jobs)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[PrivateValkey]:
    """A Redis to break."""
    with PrivateValkey(tmp_path / "redis") as server:
        yield server


def test_a_redis_that_dies_and_comes_back_empty_costs_time_only(
    tmp_path: Path, database: Database, own_redis: PrivateValkey
) -> None:
    crew = Crew(tmp_path, database, own_redis.url)
    desk = crew.open_desk()
    try:
        viewer = Viewer(desk)
        scheduler, worker = crew.start_scheduler(), crew.start_worker()
        crew.wait_until_ready()
        job_id = viewer.submit("walk", {"gates": {"second": "open"}})
        eventually(lambda: crew.effects("begin second"), 30)
        assert own_redis.pid is not None
        os.kill(own_redis.pid, signal.SIGKILL)
        eventually(lambda: not own_redis.is_running)
        crew.open_gate("open")
        # The result is kept while Redis is away, and a new job is taken in.
        eventually(lambda: viewer.steps(job_id)[1].state is StepState.COMMITTED)
        late = viewer.submit("walk", {})
        assert viewer.job(late).status is JobStatus.QUEUED
        own_redis.start()
        for each in (job_id, late):
            assert viewer.wait_for_end(each, 60).status is JobStatus.COMPLETED
            assert [step.epoch for step in viewer.steps(each)] == [1, 1, 1, 1]
            viewer.check_history(each)
        assert scheduler.process.poll() is None
        assert worker.process.poll() is None
    finally:
        desk.close()
        crew.end()

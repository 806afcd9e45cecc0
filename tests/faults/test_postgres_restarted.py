"""Postgres goes away under running steps: their results wait for it, and nobody does them twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from store import migrate
from store.embedded import PrivatePostgres
from store.states import JobStatus
from tests.conftest import Database
from tests.processes import Crew, Viewer
from tests.running import eventually

AWAY_S = 5.0  # longer than the lease, so that every worker looks dead when Postgres is back


@dataclass
class Platform:
    """A crew around a Postgres of its own."""

    server: PrivatePostgres
    crew: Crew
    viewer: Viewer


@pytest.fixture
def platform(tmp_path: Path, redis_url: str) -> Iterator[Platform]:
    home = Path(tempfile.mkdtemp(prefix="sw-"))
    with PrivatePostgres(home, durable=False) as server:
        urls = server.admin_url, server.runtime_url, server.operator_url
        migrate.upgrade(*urls)
        crew = Crew(tmp_path, Database("stepwell", *urls), redis_url)
        desk = crew.open_desk()
        yield Platform(server, crew, Viewer(desk))
        desk.close()
        crew.end()
    shutil.rmtree(home, ignore_errors=True)


def test_a_result_waits_for_postgres_and_the_worker_goes_on_under_a_new_name(
    platform: Platform,
) -> None:
    crew, viewer = platform.crew, platform.viewer
    scheduler, worker = crew.start_scheduler(), crew.start_worker()
    crew.wait_until_ready()
    job_id = viewer.submit("walk", {"gates": {"second": "open"}})
    eventually(lambda: crew.effects("begin second"), 30)

    platform.server.stop()
    crew.open_gate("open")
    eventually(lambda: crew.effects("end second"))
    # No fresh beat is possible from here on; the worker itself says when it has noticed.
    worker.wait_for("no beat", 15)
    worker_lines = worker.said().count("no beat")
    eventually(lambda: worker.said().count("no beat") >= worker_lines + 3, 4 * AWAY_S)
    platform.server.start()

    assert viewer_sees_the_end(viewer, job_id)
    assert viewer.job(job_id).status is JobStatus.COMPLETED
    worker.wait_for("incarnation replaced", 20)
    assert crew.effects("begin second") == [f"begin second {job_id}:2"]
    step = viewer.steps(job_id)[1]
    assert (step.epoch, step.losses) == (1, 0), "its result was in hand, and is not made again"
    viewer.check_history(job_id)

    again = viewer.submit("walk", {})
    assert viewer.wait_for_end(again).status is JobStatus.COMPLETED
    assert scheduler.process.poll() is None
    assert worker.process.poll() is None


def viewer_sees_the_end(viewer: Viewer, job_id: object) -> bool:
    """Ask until Postgres answers again."""
    from store.errors import Unreachable

    def has_ended() -> bool:
        try:
            return viewer.job(job_id).status.is_ended  # type: ignore[arg-type]
        except Unreachable:
            return False

    return eventually(has_ended, 40)


def test_a_worker_or_scheduler_that_finds_no_postgres_says_so_and_ends(platform: Platform) -> None:
    crew = platform.crew
    platform.server.stop()
    for member in (crew.start_worker(), crew.start_scheduler()):
        assert member.process.wait(timeout=60) == 1
        assert "cannot start" in member.said()
        assert "does not answer" in member.said()
        assert "Traceback" not in member.said()
        password = platform.server.password("stepwell_runtime")
        assert password not in member.said()
    platform.server.start()

"""The heart and the clock: what happens to steps while nobody hears of their worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from jobs.lifecycle.watch import Running
from store.states import JobStatus, StepState
from tests.conftest import Database
from tests.housing import Household
from tests.programs import as_input
from tests.running import eventually

LEASE_S = 4.0


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


def running(household: Household, name: str) -> Running:
    """The step of that name that runs here, once it does."""
    return eventually(
        lambda: next((s for s in household.house.watch.steps() if s.held.name == name), None)
    )


def unheard_s(household: Household, worker_id: UUID) -> float:
    """How long Postgres has not heard of this worker, by its own clock."""
    with household.viewer.desk.doors.as_operator("test") as tx:
        return float(
            tx.execute(
                text(
                    "select extract(epoch from clock_timestamp() - beaten_at)"
                    " from stepwell.workers where id = :id"
                ),
                {"id": worker_id},
            ).scalar_one()
        )


@contextmanager
def no_beat_gets_through(database: Database) -> Iterator[None]:
    """Every beat hangs in Postgres until its statement times out; nothing else does."""
    with psycopg.connect(database.admin_url) as blocker:
        blocker.execute("select 1 from stepwell.workers for update")
        yield


@pytest.fixture
def begun(household: Household, ledger: Path) -> tuple[UUID, Running, Running]:
    """A job with two calls in the middle: one that may be made again, and one that must not."""
    calls = [("post", {"what": "a", "gate": "posting"}), ("charge", {"gate": "charging"})]
    job_id = household.viewer.submit("scripted", as_input(calls))

    def have_begun() -> bool:
        household.answer_rings()
        return len(lines(ledger)) == 2

    eventually(have_begun)
    return job_id, running(household, "tool.post"), running(household, "tool.charge")


def test_a_worker_that_cannot_beat_stops_what_others_may_run_before_its_lease_is_over(
    household: Household,
    database: Database,
    ledger: Path,
    begun: tuple[UUID, Running, Running],
) -> None:
    job_id, post, charge = begun
    old = household.house.worker_id
    with no_beat_gets_through(database):
        eventually(lambda: post.call.is_over, 2 * LEASE_S)
        assert unheard_s(household, old) < LEASE_S
        assert not household.house.may_claim.is_set()
        # Its claim still stands, and Postgres can be reached: it is handed back.
        eventually(lambda: household.viewer.steps(job_id)[1].state is StepState.READY)

        # What must not happen twice goes on, and what it came to is kept.
        assert not charge.call.is_over
        ledger.with_name("gate-charging").touch()
        eventually(lambda: household.viewer.steps(job_id)[2].state is StepState.COMMITTED)

    ledger.with_name("gate-posting").touch()
    eventually(lambda: household.house.may_claim.is_set(), 15)
    assert household.house.worker_id != old
    assert household.run(job_id).status is JobStatus.COMPLETED
    posted = household.viewer.steps(job_id)[1]
    assert (posted.epoch, posted.attempts, posted.losses) == (2, 0, 0)
    assert [line for line in lines(ledger) if "charge" in line] == [
        f"begin charge {job_id}:3",
        f"end charge {job_id}:3",
    ]
    assert lines(ledger).count(f"end a {job_id}:2") == 1
    household.viewer.check_history(job_id)


def test_a_worker_that_was_found_lost_stops_what_others_run_by_now(
    household: Household, ledger: Path, begun: tuple[UUID, Running, Running]
) -> None:
    job_id, post, charge = begun
    lost = household.house.worker_id
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.workers set state = 'lost' where id = :id"), {"id": lost})
        tx.execute(
            text(
                "update stepwell.checkpoints set state = 'ready', worker_id = null,"
                " rung_at = null, losses = losses + 1 where job_id = :job and seq = 2"
            ),
            {"job": job_id},
        )
    eventually(lambda: post.call.is_over, LEASE_S)
    assert not charge.call.is_over
    ledger.with_name("gate-posting").touch()
    ledger.with_name("gate-charging").touch()
    eventually(lambda: household.house.worker_id != lost)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert [s.epoch for s in household.viewer.steps(job_id)[1:3]] == [2, 1]
    household.viewer.check_history(job_id)


def test_a_result_in_hand_is_kept_however_long_no_beat_gets_through(
    household: Household, database: Database, ledger: Path
) -> None:
    job_id = household.viewer.submit("walk", {"gates": {"first": "open"}})
    household.answer(household.viewer.tenant_id, job_id, 1)
    step = running(household, "step.walk.first")
    with psycopg.connect(database.admin_url) as blocker:
        # Whoever holds the job's row makes the commit wait.
        blocker.execute("select 1 from stepwell.jobs for update")
        ledger.with_name("gate-open").touch()
        eventually(lambda: step.is_in_hand)
        with no_beat_gets_through(database):
            eventually(lambda: step in [each for each, _ in household.house.watch.to_stop()], 8)
    eventually(lambda: household.viewer.steps(job_id)[0].state is StepState.COMMITTED)
    assert household.run(job_id).status is JobStatus.COMPLETED
    first = household.viewer.steps(job_id)[0]
    assert (first.epoch, first.losses) == (1, 0)


def test_a_step_that_overstays_gives_its_slot_back(household: Household, ledger: Path) -> None:
    job_id = household.viewer.submit("scripted", as_input([("hang", {"gate": "never"})]))
    assert household.run(job_id).status is JobStatus.COMPLETED
    eventually(lambda: household.house.watch.count() == 0, 5)
    assert lines(ledger) == ["begin hang"]
    hung = household.viewer.steps(job_id)[1]
    assert hung.output["outcome"] == "failed"
    assert "took longer" in hung.output["content"]

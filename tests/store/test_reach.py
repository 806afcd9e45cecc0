"""Reach: a move looks at its own rows, however many others there are and whatever is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from store import due, transitions
from store.doors import Doors, HotConnection
from store.states import StepState
from store.transitions import Claim, Settlement
from tests.conftest import Database
from tests.stepping import MODEL, QUESTION, Stepper, call

# How many strangers there are of a kind, and how many rows a move may look at for its own purpose.
MANY, FEW = 500, 40

PUT_DOWN_MANY = text(
    """
    with made as (
      insert into stepwell.jobs (tenant_id, id, agent, agent_version, job_class, origin, status,
                                 outstanding, next_seq, input, root_id, finished_at, forked_from)
      select :tenant, id, 'a', '1', 'default', 'api', :status, 0, 2, '{}', id, :finished_at,
             gen_random_uuid()
        from (select gen_random_uuid() as id from generate_series(1, :many)) as ids
      returning id)
    insert into stepwell.checkpoints (tenant_id, job_id, seq, kind, name, job_class, work, state,
                                      epoch, worker_id, committed_at)
    select :tenant, id, 1, 'tool', 't', 'default', 'waits', cast(:state as text), 1,
           case when cast(:state as text) = 'running' then id end, :finished_at
      from made
    """
)
COUNT_READ = (
    "select coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)"
    " from pg_stat_xact_user_tables where schemaname = 'stepwell'"
)


@dataclass
class Town:
    """A job among many strangers, in a database whose planner was last told when all was quiet."""

    stepper: Stepper
    database: Database

    def fill(self, state: str, many: int = MANY, age: str | None = None) -> None:
        """Put down strangers with a step in this state; those with an age have ended."""
        with self.stepper.doors.as_operator("test") as tx:
            ended = tx.execute(text(f"select now() - interval '{age}'")).scalar() if age else None
            tx.execute(
                PUT_DOWN_MANY,
                {
                    "tenant": self.stepper.tenant_id,
                    "many": many,
                    "state": state,
                    "status": "completed" if age else "running",
                    "finished_at": ended,
                },
            )

    def learn(self) -> None:
        """Let the planner look at the tables as they are now, and never again."""
        with psycopg.connect(self.database.admin_url, autocommit=True) as admin:
            for table in ("jobs", "checkpoints", "waits", "dead_letters"):
                admin.execute(f"alter table stepwell.{table} set (autovacuum_enabled = off)")
                admin.execute(f"analyze stepwell.{table}")


@pytest.fixture
def town(doors: Doors, tenant: UUID, database: Database) -> Town:
    town = Town(Stepper(doors, tenant), database)
    town.fill("committed", age="1 hour")
    town.learn()
    for state in ("ready", "running"):
        town.fill(state)
    return town


def release(connection: HotConnection, held: Claim) -> object:
    return transitions.release(
        connection, held, delay_s=0.0, is_failed_try=True, reason="retry_scheduled"
    )


def commit(connection: HotConnection, held: Claim) -> object:
    done = Settlement(StepState.COMMITTED, {}, plan=(MODEL,), is_joining=True)
    return transitions.commit(connection, held, done)


def park(connection: HotConnection, held: Claim) -> object:
    return transitions.park(connection, held, QUESTION, depth_max=1, descendants_max=1)


@pytest.mark.parametrize(
    "move", [transitions.start_effect, commit, park, release], ids=lambda move: move.__name__
)
def test_who_holds_a_step_looks_at_no_other_that_runs(
    town: Town, move: Callable[[HotConnection, Claim], object]
) -> None:
    stepper = town.stepper
    held = stepper.take(stepper.put_down([call(1), call(2)]))
    with stepper.doors.hot() as connection, connection.transaction():
        before = count_read(connection)
        assert move(connection, held)
        assert count_read(connection) - before < FEW


@pytest.mark.parametrize("is_told", [True, False])
def test_a_claim_looks_at_no_other_step_that_is_ready(town: Town, is_told: bool) -> None:
    stepper = town.stepper
    job_id, worker = stepper.put_down([call(1), call(2)]), stepper.start_worker()
    stepper.take(job_id, 1, worker)
    with stepper.doors.hot() as connection, connection.transaction():
        before = count_read(connection)
        claimed = (stepper.tenant_id, job_id, 2, worker)
        assert transitions.claim(connection, *claimed, is_told=is_told)
        assert count_read(connection) - before < FEW


def count_read(connection: HotConnection) -> int:
    row = connection.execute(COUNT_READ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_batch_of_retirement_looks_at_no_job_that_stays(town: Town) -> None:
    town.fill("committed", many=20, age="1000 days")
    town.learn()
    with town.stepper.doors.as_operator("test") as tx:
        before = tx.execute(text(COUNT_READ)).scalar_one()
        gone = due.retire_jobs(tx, kept_s=86_400.0, letters_kept_s=86_400.0, limit=20)
        assert gone == 20
        assert tx.execute(text(COUNT_READ)).scalar_one() - before < 20 * FEW

"""Dispatch order: each tenant has its turn, begun work goes first, and a backlog costs nothing."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from store import due, tenants, transitions
from store.doors import Doors
from store.due import DueStep
from store.states import JobClass, Work
from tests.conftest import Database
from tests.running import at_once
from tests.stepping import MODEL, Stepper

LANE = (JobClass.DEFAULT, Work.WAITS)
BATCH = (JobClass.BATCH, Work.WAITS)

PUT_DOWN_MANY = text(
    """
    with made as (
      insert into stepwell.jobs (tenant_id, id, agent, agent_version, job_class, origin, status,
                                 outstanding, next_seq, input, root_id)
      select tenant, id, 'a', '1', :job_class, 'api', 'queued', 1, 2, '{}', id
        from (select (cast(:tenants as uuid[]))[1 + n % :width] as tenant, gen_random_uuid() as id
                from generate_series(1, :many) as n) as ids
      returning tenant_id, id)
    insert into stepwell.checkpoints (tenant_id, job_id, seq, kind, name, job_class, work, state)
    select tenant_id, id, 1, 'model', 'model', :job_class, 'waits', 'ready' from made
    """
)
COUNT_READ = text(
    "select coalesce(sum(coalesce(seq_scan, 0)), 0) as scans,"
    " coalesce(sum(coalesce(idx_tup_fetch, 0)), 0) as rows"
    " from pg_stat_xact_user_tables where schemaname = 'stepwell' and relname = 'checkpoints'"
)


@pytest.fixture
def town(doors: Doors) -> list[Stepper]:
    """Three tenants."""
    made = [uuid4() for _ in range(3)]
    with doors.as_operator("test") as tx:
        for tenant_id in made:
            tenants.ensure(tx, tenant_id, str(tenant_id))
    return [Stepper(doors, tenant_id) for tenant_id in sorted(made)]


def take(doors: Doors, room: int, **more: object) -> list[DueStep]:
    told: dict[str, object] = {"again_s": 60.0} | more
    with doors.as_operator("test") as tx:
        return due.take(tx, {LANE: room}, **told)  # type: ignore[arg-type]


def served(steps: list[DueStep]) -> Counter[UUID]:
    return Counter(step.tenant_id for step in steps)


def weigh(doors: Doors, tenant_id: UUID, weight: int) -> None:
    with doors.as_operator("test") as tx:
        tx.execute(
            text("update stepwell.tenants set weight = :weight where tenant_id = :tenant"),
            {"weight": weight, "tenant": tenant_id},
        )


def put_down_many(doors: Doors, those: list[Stepper], many: int, job_class: str) -> None:
    with doors.as_operator("test") as tx:
        given = {"tenants": [each.tenant_id for each in those], "width": len(those)}
        tx.execute(PUT_DOWN_MANY, given | {"many": many, "job_class": job_class})


def test_who_asks_for_much_is_served_no_more_often_than_who_asks_for_little(
    doors: Doors, town: list[Stepper]
) -> None:
    noisy, *quiet = town
    for _ in range(30):
        noisy.put_down()
    for each in quiet:
        each.put_down()
        each.put_down()
    assert set(served(take(doors, 6)).values()) == {2}
    assert served(take(doors, 9)) == {noisy.tenant_id: 9}, "nobody is kept from room that is left"


def test_the_oldest_of_a_tenant_is_served_first(doors: Doors, town: list[Stepper]) -> None:
    job_ids = [town[0].put_down() for _ in range(4)]
    assert [step.job_id for step in take(doors, 1) + take(doors, 1)] == job_ids[:2]


def test_a_round_goes_on_where_the_one_before_it_had_no_more_room(
    doors: Doors, town: list[Stepper]
) -> None:
    for each in town:
        for _ in range(4):
            each.put_down()
    in_turn = [take(doors, 1)[0].tenant_id for _ in range(6)]
    assert in_turn[:3] == in_turn[3:]
    assert len(set(in_turn)) == 3


def test_a_tenant_is_served_by_its_weight(doors: Doors, town: list[Stepper]) -> None:
    weigh(doors, town[1].tenant_id, 3)
    put_down_many(doors, town, 90, "default")
    whole = served(take(doors, 20))
    assert whole[town[1].tenant_id] == 12
    piecemeal: Counter[UUID] = Counter()
    for _ in range(10):
        piecemeal += served(take(doors, 1))
    assert piecemeal[town[1].tenant_id] == 6, "a turn goes on where the room of a round ended"


def test_what_was_begun_goes_on_before_anything_is_begun_anew(
    doors: Doors, town: list[Stepper]
) -> None:
    old = town[0].put_down()
    begun = town[1].put_down()
    worker = town[1].start_worker()
    town[1].commit(town[1].take(begun, 1, worker), plan=(MODEL,))
    town[1].release(town[1].take(begun, 2, worker))
    first, second = take(doors, 2)
    assert (first.job_id, first.is_start) == (begun, False)
    assert (second.job_id, second.is_start) == (old, True)


def test_a_first_step_that_was_turned_away_goes_on_before_nobody(
    doors: Doors, town: list[Stepper]
) -> None:
    """Its job has done nothing yet; and it does not count as a start a second time."""
    old = town[0].put_down()
    turned_away = town[0].put_down()
    worker = town[0].start_worker()
    town[0].release(town[0].take(turned_away, 1, worker), is_failed_try=False)
    assert [(step.job_id, step.is_start) for step in take(doors, 2)] == [
        (old, True),
        (turned_away, False),
    ]


def test_a_tenant_whose_time_is_still_to_come_is_passed_by(
    doors: Doors, town: list[Stepper]
) -> None:
    resting = town[0].put_down()
    town[0].release(town[0].take(resting), delay_s=60.0)
    due_now = town[1].put_down()
    town[1].release(town[1].take(due_now), delay_s=0.0)
    assert [step.job_id for step in take(doors, 5)] == [due_now]


def test_what_is_guaranteed_is_served_before_what_is_urgent(
    doors: Doors, town: list[Stepper]
) -> None:
    for _ in range(5):
        town[0].put_down()
        town[0].put_down(job_class=JobClass.BATCH)
    with doors.as_operator("test") as tx:
        steps = due.take(
            tx, {LANE: 9, BATCH: 9}, again_s=60.0, first={BATCH: 2}, most={Work.WAITS: 4}
        )
    assert [step.job_class for step in steps] == [JobClass.BATCH] * 2 + [JobClass.DEFAULT] * 2


def test_a_step_that_stands_in_line_is_not_rung_for_twice(
    doors: Doors, town: list[Stepper]
) -> None:
    job_ids = [town[0].put_down() for _ in range(3)]
    assert len(take(doors, 3)) == 3
    assert take(doors, 9, again_s=0.0, depths={LANE: 3}) == []
    assert take(doors, 9, again_s=0.0, depths={LANE: 30}) == [], "some were rung for twice"
    lost = take(doors, 9, again_s=0.0, depths={LANE: 2})
    assert len(lost) == 1, "one more is rung for than lies on the lane"
    assert lost[0].job_id in job_ids
    assert not lost[0].is_start


def test_lost_rings_are_found_however_many_new_steps_wait(
    doors: Doors, town: list[Stepper]
) -> None:
    lost = town[0].put_down(is_rung=True)
    put_down_many(doors, town, 60, "default")
    found = take(doors, 4, again_s=0.0)
    assert lost in {step.job_id for step in found}


def test_schedulers_at_once_take_different_steps_and_are_fair_together(
    doors: Doors, town: list[Stepper]
) -> None:
    put_down_many(doors, town[:1], 300, "default")
    put_down_many(doors, town[1:], 60, "default")
    taken: list[DueStep] = []
    for _ in range(5):
        for some in at_once([lambda: take(doors, 3)] * 4):
            taken += some
    ids = [step.job_id for step in taken]
    assert len(ids) == len(set(ids))
    counts = served(taken)
    assert counts[town[0].tenant_id] <= len(taken) / 3 + 6, counts


def test_a_tenant_alone_fills_all_the_room_there_is(doors: Doors, town: list[Stepper]) -> None:
    put_down_many(doors, town[:1], 500, "default")
    assert len(take(doors, 400)) == 400


# --- what it costs --------------------------------------------------------------------------------


def rows_read(doors: Doors) -> int:
    """Rows of steps that a round looks at; no scan of the table is one of them."""
    with doors.as_operator("test") as tx:
        before = tx.execute(COUNT_READ).one()
        due.take(tx, {LANE: 30, BATCH: 30}, again_s=2.0, most={Work.WAITS: 40})
        after = tx.execute(COUNT_READ).one()
    assert after.scans == before.scans, "the table was walked"
    return int(after.rows - before.rows)


def fastest_s(doors: Doors) -> float:
    """The fastest of some rounds, each undone."""
    took = []
    for _ in range(60):
        with doors.as_operator("test") as tx:
            began = perf_counter()
            due.take(tx, {LANE: 10, BATCH: 10}, again_s=2.0, most={Work.WAITS: 12})
            took.append(perf_counter() - began)
            tx.rollback()
    return min(took)


def fastest_claim_s(doors: Doors, town: list[Stepper]) -> float:
    """The fastest of some claims of steps that a round has just rung for, each undone."""
    rung = [step for step in take(doors, 60) if step.tenant_id == town[0].tenant_id]
    worker_id, took = town[0].start_worker(), []
    for step in rung:
        with doors.hot() as connection, connection.transaction(force_rollback=True):
            began = perf_counter()
            held = transitions.claim(connection, step.tenant_id, step.job_id, step.seq, worker_id)
            took.append(perf_counter() - began)
            assert held is not None
    return min(took)


def test_a_round_and_a_claim_cost_the_same_however_long_the_backlog(
    doors: Doors, town: list[Stepper], database: Database
) -> None:
    reads, costs_s, claims_s = [], [], []
    for more in (100, 19_900, 80_000):
        put_down_many(doors, town, more, "default")
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            # What the rounds that were undone have left is not what a round costs.
            admin.execute("vacuum stepwell.checkpoints")
        costs_s.append(fastest_s(doors))
        reads.append(rows_read(doors))
        claims_s.append(fastest_claim_s(doors, town))
    assert max(reads) <= 2 * min(reads), reads
    assert max(costs_s) <= 1.5 * costs_s[0], costs_s
    assert max(claims_s) <= 1.5 * claims_s[0], claims_s


def test_a_planner_that_was_last_told_when_all_was_quiet_walks_none_of_it(
    doors: Doors, town: list[Stepper], database: Database
) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("alter table stepwell.checkpoints set (autovacuum_enabled = off)")
        admin.execute("analyze stepwell.checkpoints")
    put_down_many(doors, town, 20_000, "default")
    assert rows_read(doors) < 400


def test_many_tenants_are_served_in_turn_and_none_is_walked_past_the_room(
    doors: Doors, town: list[Stepper]
) -> None:
    with doors.as_operator("test") as tx:
        made = [uuid4() for _ in range(300)]
        for tenant_id in made:
            tenants.ensure(tx, tenant_id, str(tenant_id))
    put_down_many(doors, [Stepper(doors, each) for each in made], 900, "default")
    assert rows_read(doors) < 400
    seen: Counter[UUID] = Counter()
    for _ in range(10):
        seen += served(take(doors, 26))
    assert len(seen) == 260
    assert set(seen.values()) == {1}, "nobody twice before everybody once"

"""Schedulers killed with SIGKILL while they tick: every tick of every schedule fires once.

A thousand ticks of twenty schedules have come while no scheduler ran. Two are started; whenever
some more ticks are through, one of them is killed in the middle of its work, and another started.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import text

from store.doors import Doors
from store.states import CatchUp, Overlap, TickState
from tests.processes import Crew, Member
from tests.running import eventually
from tests.ticking import Clockwork

SCHEDULES, TICKS_EACH = 20, 50
TICKS = SCHEDULES * TICKS_EACH
EVERY_S = 60
KILL_EVERY_TICKS = 80

COUNT = text("select count(*) from stepwell.ticks")
UNEVEN = text(
    """
    select t.schedule_id, t.tick_at from stepwell.ticks t
      left join stepwell.jobs j on j.tenant_id = t.tenant_id and j.id = t.job_id
      left join stepwell.checkpoints c on c.tenant_id = j.tenant_id and c.job_id = j.id
      left join stepwell.events e on e.tenant_id = j.tenant_id and e.job_id = j.id
     group by t.schedule_id, t.tick_at
    having count(distinct j.id) <> 1 or count(distinct c.seq) <> 1 or count(distinct e.id) <> 1
    """
)


def test_a_pair_of_schedulers_under_kill_9_fires_each_of_a_thousand_ticks_once(
    crew: Crew, doors: Doors, tenant: UUID
) -> None:
    clockwork = Clockwork(doors, tenant)
    every = [overdue(clockwork, f"n{n}") for n in range(SCHEDULES)]
    assert kill_while_they_tick(crew, doors) >= 5, "too fast to be killed in the middle of it"
    for schedule_id in every:
        row, ticks = clockwork.row(schedule_id), clockwork.ticks(schedule_id)
        assert [each.tick_at for each in ticks[:TICKS_EACH]] == [
            row.starts_at + timedelta(seconds=EVERY_S * n) for n in range(1, TICKS_EACH + 1)
        ]
        assert {each.state for each in ticks} == {TickState.FIRED}
    jobs = Counter(job_id for each in every for job_id in clockwork.job_ids(each))
    assert set(jobs.values()) == {1}
    assert len(jobs) == clockwork.count_jobs() >= TICKS
    with doors.as_operator("test") as tx:
        assert tx.execute(UNEVEN).all() == []


def overdue(clockwork: Clockwork, name: str) -> UUID:
    """A schedule all of whose ticks so far are still to be fired."""
    schedule_id = clockwork.put_down(
        name,
        every_s=EVERY_S,
        catch_up=CatchUp.ALL,
        catch_up_max=1_000,
        overlap=Overlap.ALLOW,
    )
    clockwork.pass_by(schedule_id, TICKS_EACH * EVERY_S + 1)
    return schedule_id


def kill_while_they_tick(crew: Crew, doors: Doors) -> int:
    """Kill one of the two whenever some more ticks are through; returns how many were killed."""
    pair: list[Member] = [crew.start_scheduler(), crew.start_scheduler()]
    killed = 0
    for wanted in range(KILL_EVERY_TICKS, TICKS, KILL_EVERY_TICKS):
        if eventually(partial(count_ticks, doors, wanted), 60.0) < TICKS:
            pair.pop(0).kill()
            pair.append(crew.start_scheduler())
            killed += 1
    eventually(partial(count_ticks, doors, TICKS), 60.0)
    return killed


def count_ticks(doors: Doors, wanted: int) -> int:
    """How many ticks are through; 0 when these are fewer than wanted."""
    with doors.as_operator("test") as tx:
        found = int(tx.execute(COUNT).scalar_one())
    return found if found >= wanted else 0

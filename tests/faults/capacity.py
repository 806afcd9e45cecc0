"""Capacity: whether anybody was there to take over what a killed worker had in hand.

Recovery has a bound where there is a worker with room, a scheduler, and both servers. In a storm
that is often not so: while every worker is frozen, nobody can be as quick as promised.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.faults.members import Member
from tests.faults.world import World

# For so long after a strike they all have to be there.
SOON_S = 5.0
# A scheduler has to start, and then gives every worker a lease before it judges; the same after a
# silence of Postgres.
SETTLING_S = 6.0


@dataclass(frozen=True, slots=True)
class Stay:
    """A process that was there from one moment to another; monotonic seconds."""

    since: float
    until: float

    def covers(self, since: float, until: float) -> bool:
        return self.since <= since and self.until >= until


@dataclass(frozen=True, slots=True)
class Capacity:
    """Who was there when."""

    workers: list[Stay]
    schedulers: list[Stay]
    outages: list[tuple[float, float]]

    def could_take_over(self, at: float) -> bool:
        """Whether a worker, a scheduler and both servers were there all along after this moment."""
        is_out = any(
            since < at + SOON_S and until > at - SETTLING_S for since, until in self.outages
        )
        has_worker = any(stay.covers(at, at + SOON_S) for stay in self.workers)
        has_scheduler = any(stay.covers(at - SETTLING_S, at + SOON_S) for stay in self.schedulers)
        return has_worker and has_scheduler and not is_out


def read(world: World) -> Capacity:
    """Who was there in this world, by the members' own marks and the workers' rows."""
    since_boot = time.time() - time.monotonic()
    rows = world.ask("select name, extract(epoch from started_at)::float8 from stepwell.workers")
    incarnations = [(int(name.rpartition(":")[2]), at - since_boot) for name, at in rows]
    schedulers = world.crew.of("scheduler")
    starts = [start for member in schedulers for start in member.started]
    return Capacity(
        workers=list(stays(incarnations, world.crew.of("worker"))),
        schedulers=list(stays(starts, schedulers)),
        outages=list(world.outages),
    )


def stays(starts: Iterable[tuple[int, float]], members: Iterable[Member]) -> Iterable[Stay]:
    """Each start, by process id and moment, until that process was next struck."""
    gone = [each for member in members for each in member.departed]
    for pid, since in starts:
        ends = [at for other, at in gone if other == pid and at > since]
        yield Stay(since, min(ends, default=float("inf")))

"""The weather of a storm: which fault strikes when and whom, and what it does to a world.

The schedule depends on the seed alone. A strike says which jobs it has hit: those of which a step
was running in the process that was struck, or anywhere in an outage, or was rung for in a Redis
that forgot it.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Thread, Timer
from time import monotonic
from uuid import UUID

from tests.faults import disk, skew
from tests.faults.facts import Struck
from tests.faults.meddler import Meddler, Way
from tests.faults.members import Member
from tests.faults.strikes import (
    FROZEN_S,
    kill_redis_server,
    put_clocks_wrong,
    stop_postgres,
)
from tests.faults.world import World

GAP_S = (1.0, 2.4)
FIRST_S = 4.0
AWAY_S = 1.0
MEDDLING_S = 1.5
FULL_S = 0.7
SLOW_MS, SLOW_S = 30, 1.5
CUTS = 3
VICTIMS_MAX = 500


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come, so many seconds after the beginning; `pick` chooses among members."""

    at_s: float
    fault: str
    pick: float


def schedule(seed: int) -> Iterator[Planned]:
    """The faults of this seed, without end."""
    draw = random.Random(seed)
    names, weights = list(STROKES), [stroke.weight for stroke in STROKES.values()]
    at_s = FIRST_S
    while True:
        (name,) = draw.choices(names, weights)
        yield Planned(round(at_s, 3), name, draw.random())
        at_s += draw.uniform(*GAP_S)


@dataclass
class Sky:
    """What is going on over a world: who was hit, and what is not over yet."""

    world: World
    timers: list[Thread] = field(default_factory=list)

    def strike(self, planned: Planned) -> None:
        self.world.faults[planned.fault] += 1
        STROKES[planned.fault].strike(self, planned)

    def clear_up(self) -> None:
        """Wait until nothing is going on any more."""
        for timer in self.timers:
            timer.join()

    def later(self, after_s: float, act: Callable[[], None]) -> None:
        timer = Timer(after_s, act)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)

    def member(self, kind: str, pick: float) -> Member:
        members = self.world.crew.of(kind)
        return members[int(pick * len(members))]

    # -- who is hit -------------------------------------------------------------------------

    def hit(
        self, fault: str, steps: Sequence[tuple[UUID, int]], at: float, healed_at: float
    ) -> None:
        self.world.facts.struck += [
            Struck(job_id, fault, "", at, healed_at, seq) for job_id, seq in steps
        ]

    def running_in(self, pid: int | None = None) -> list[tuple[UUID, int]]:
        """The steps that run, in this process or anywhere; nobody's while Postgres is away."""
        return self._steps(
            "select c.job_id, c.seq from stepwell.checkpoints c"
            " join stepwell.workers w on w.id = c.worker_id where c.state = 'running'"
            " and (%s::text is null or w.name like '%%:' || %s::text) limit %s",
            *[None if pid is None else str(pid)] * 2,
        )

    def rung_for(self) -> list[tuple[UUID, int]]:
        """The steps whose rings are on their way."""
        return self._steps(
            "select job_id, seq from stepwell.checkpoints"
            " where state = 'ready' and rung_at is not null and ready_at <= now() limit %s"
        )

    def _steps(self, statement: str, *values: object) -> list[tuple[UUID, int]]:
        found = self.world.patiently(lambda: self.world.ask(statement, *values, VICTIMS_MAX))
        return [(job_id, seq) for job_id, seq in found]


# --- strokes --------------------------------------------------------------------------------------


def kill_worker(sky: Sky, planned: Planned) -> None:
    member, at = sky.member("worker", planned.pick), monotonic()
    pid = member.pid
    member.kill()
    sky.hit(planned.fault, sky.running_in(pid), at, at)


def freeze_worker(sky: Sky, planned: Planned) -> None:
    member, at = sky.member("worker", planned.pick), monotonic()
    process = member.process
    member.freeze()
    sky.hit(planned.fault, sky.running_in(member.pid), at, at)

    def thaw() -> None:
        if member.process is process and member.is_running:
            member.thaw()

    sky.later(FROZEN_S, thaw)


def drain_worker(sky: Sky, planned: Planned) -> None:
    member = sky.member("worker", planned.pick)
    if not member.is_frozen:
        member.ask_to_leave()


def kill_scheduler(sky: Sky, planned: Planned) -> None:
    sky.member("scheduler", planned.pick).kill()


def postgres_away(how: signal.Signals) -> Callable[[Sky, Planned], None]:
    def strike(sky: Sky, planned: Planned) -> None:
        running, at = sky.running_in(), monotonic()
        stop_postgres(sky.world, how)
        sky.world.postgres.start()
        sky.world.outages.append((at, monotonic()))
        sky.hit(planned.fault, running, at, monotonic())

    return strike


def cut_answers(sky: Sky, _: Planned) -> None:
    for _n in range(CUTS):
        sky.world.tell_wire("cut any")


def drop_connections(sky: Sky, planned: Planned) -> None:
    sky.world.tell_wire("drop")


def slow_wire(sky: Sky, _: Planned) -> None:
    sky.world.tell_wire(f"delay {SLOW_MS}")
    sky.later(SLOW_S, lambda: sky.world.tell_wire("delay 0") and None)


def empty_redis(sky: Sky, planned: Planned) -> None:
    rung, at = sky.rung_for(), monotonic()
    sky.world.redis.flushall()
    sky.hit(planned.fault, rung, at, at)


def lose_redis(sky: Sky, planned: Planned) -> None:
    rung, at = sky.rung_for(), monotonic()
    kill_redis_server(sky.world)
    sky.later(AWAY_S, lambda: give_redis_back(sky, planned.fault, rung, at))
    sky.timers[-1].join()


def give_redis_back(sky: Sky, fault: str, rung: Sequence[tuple[UUID, int]], at: float) -> None:
    sky.world.redis_server.start()
    sky.world.outages.append((at, monotonic()))
    sky.hit(fault, rung, at, monotonic())


def meddle(way: Way) -> Callable[[Sky, Planned], None]:
    def strike(sky: Sky, planned: Planned) -> None:
        meddler = Meddler(sky.world.redis_server.url, way, int(planned.pick * 1e6))
        meddler.__enter__()
        sky.later(MEDDLING_S, lambda: meddler.__exit__())

    return strike


def wrong_clocks(sky: Sky, planned: Planned) -> None:
    world = sky.world
    put_clocks_wrong(world, world.crew.of("worker"))
    sky.later(MEDDLING_S, lambda: skew.put_clocks(world.folder, {}))


def disk_full(sky: Sky, planned: Planned) -> None:
    with disk.full(sky.world.postgres.admin_url):
        sky.later(FULL_S, lambda: None)
        sky.timers[-1].join()


def mail_down(sky: Sky, _: Planned) -> None:
    mail = sky.world.mail
    mail.is_down = True
    sky.later(FULL_S, lambda: setattr(mail, "is_down", False))


@dataclass(frozen=True, slots=True)
class Stroke:
    """A fault of the storm, and how often it comes beside the others."""

    strike: Callable[[Sky, Planned], None]
    weight: int


STROKES: dict[str, Stroke] = {
    "worker killed": Stroke(kill_worker, 6),
    "worker frozen": Stroke(freeze_worker, 3),
    "worker asked to leave": Stroke(drain_worker, 1),
    "scheduler killed": Stroke(kill_scheduler, 2),
    "postgres restarted": Stroke(postgres_away(signal.SIGINT), 1),
    "postgres crashed": Stroke(postgres_away(signal.SIGQUIT), 1),
    "answer lost": Stroke(cut_answers, 4),
    "connections dropped": Stroke(drop_connections, 2),
    "answers slow": Stroke(slow_wire, 1),
    "redis emptied": Stroke(empty_redis, 4),
    "redis killed": Stroke(lose_redis, 2),
    "messages doubled": Stroke(meddle("duplicate"), 2),
    "messages late": Stroke(meddle("delay"), 2),
    "messages mixed": Stroke(meddle("reorder"), 2),
    "clocks wrong": Stroke(wrong_clocks, 1),
    "disk full": Stroke(disk_full, 1),
    "mail server died": Stroke(mail_down, 1),
}

"""The faults: what is done to a world in the moment in which its jobs stand at their points.

A strike is given a wave whose jobs stand. It breaks something, says which jobs that has hit and
when it was healed, and lets the jobs go on: while the thing is still broken where it can be, so
that the very next move of each job meets the fault.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from time import monotonic

from broker.envelope import Envelope
from store.states import JobClass, Work
from tests.faults import disk, skew
from tests.faults.meddler import Meddler, Way
from tests.faults.members import Member, until
from tests.faults.points import Point
from tests.faults.wave import Aim, Spot, Wave
from tests.faults.world import World

# Beyond the lease, so that the world has given the frozen one up before it wakes.
FROZEN_S = 6.5
AWAY_S = 1.5
MEDDLING_S = 4.0
FULL_S = 1.0
SKEW_S = 3600.0
SETTLED_SOON_S = 20.0

EVERYWHERE = tuple(point for point in Point if point is not Point.PARKING)
# Where a statement's answer is on its way, or comes next.
ANSWERED = (
    Point.BEFORE_CLAIM,
    Point.AFTER_CLAIM,
    Point.BEFORE_EFFECT,
    Point.AFTER_EFFECT,
    Point.BEFORE_COMMIT,
    Point.PARKING,
    Point.WAKING,
    Point.JOINING,
    Point.CANCELLING,
)
FILES: dict[Point, Sequence[Spot]] = {
    Point.BEFORE_CLAIM: [Spot("chain", (8,))],
    Point.AFTER_CLAIM: [Spot("chain", (8,))],
    Point.BEFORE_EFFECT: [Spot("chain", (8,)), Spot("fanout", (7,))],
    Point.AFTER_EFFECT: [Spot("chain", (8,)), Spot("fanout", (7,))],
    Point.BEFORE_COMMIT: [Spot("chain", (7,))],
    Point.AFTER_COMMIT: [Spot("chain", (7,))],
    Point.JOINING: [Spot("fanout", (8, 9))],
    Point.CANCELLING: [Spot("chain", (7,))],
}


def kill(wave: Wave) -> None:
    """kill -9 of one worker after another; the others, and its successor, take over."""
    for pid in pids_to_strike(wave):
        aims, member = wave.standing_in(pid), wave.world.crew.by_pid(pid)
        if member is None or not aims:
            continue
        at = monotonic()
        member.kill()
        wave.strike(aims, at)
        wave.open(aims)
        wave.wake_the_parked(aims)
        wait_until_all_go_on(wave, aims)
        wave.world.crew.wait_until_ready()


def pids_to_strike(wave: Wave) -> list[int]:
    """The workers in which somebody stands; only one where nobody stands for long."""
    return wave.pids[:1] if wave.is_fleeting else wave.pids


def freeze(wave: Wave) -> None:
    """SIGSTOP of one worker after another for longer than the lease, then SIGCONT.

    What stands in the first has been done by others when it wakes. What stands in the second comes
    to stand in its successor too, and then both go on at once: the zombie and the one that holds.
    """
    for n, pid in enumerate(pids_to_strike(wave)):
        aims, member = wave.standing_in(pid), wave.world.crew.by_pid(pid)
        if member is None or not aims:
            continue
        at = monotonic()
        member.freeze()
        wave.strike(aims, at)
        if n % 2 == 0:
            wave.open(aims)
        Event().wait(FROZEN_S)
        member.thaw()
        wave.open(aims)
        wave.wake_the_parked(aims)
        wait_until_all_go_on(wave, aims)


def wait_until_all_go_on(wave: Wave, aims: Sequence[Aim]) -> None:
    """Wait for a bounded time; whoever is not at work by then is seen in the tally."""
    with suppress(TimeoutError):
        until(lambda: all_go_on(wave, aims), SETTLED_SOON_S)


def all_go_on(wave: Wave, aims: Sequence[Aim]) -> bool:
    """Whether each of these has begun a step, or settled, since it was struck."""
    begun = wave.world.begun_since({aim.job_id: aim.struck.at for aim in aims if aim.struck})
    rest = [aim.job_id for aim in aims if aim.job_id not in begun]
    return not rest or wave.world.are_settled(rest)


def restart_postgres(wave: Wave) -> None:
    """Postgres goes away in good order, and comes back."""
    take_postgres_away(wave, signal.SIGINT)


def crash_postgres(wave: Wave) -> None:
    """Postgres is torn away (`immediate`), and has to recover."""
    take_postgres_away(wave, signal.SIGQUIT)


def take_postgres_away(wave: Wave, how: signal.Signals) -> None:
    world, at = wave.world, monotonic()
    stop_postgres(world, how)
    wave.open_all()
    Event().wait(AWAY_S)
    world.postgres.start()
    wave.strike(wave.aims, at, monotonic())


def stop_postgres(world: World, how: signal.Signals) -> None:
    """End the server by this signal, and wait until it is gone."""
    pid = world.postgres.pid
    if pid is not None:
        os.kill(pid, how)
        until(lambda: not world.postgres.is_running, SETTLED_SOON_S)
    world.postgres.stop()


def lose_answers(wave: Wave) -> None:
    """The connection is lost after what was asked is done, and before the answer comes."""
    wave.strike(wave.aims, monotonic())
    wave.open_all("cut")


def flush_redis(wave: Wave) -> None:
    """Redis forgets everything."""
    at = monotonic()
    wave.world.redis.flushall()
    wave.strike(wave.aims, at)
    wave.open_all()


def kill_redis(wave: Wave) -> None:
    """Redis dies, and comes back empty."""
    world, at = wave.world, monotonic()
    kill_redis_server(world)
    wave.open_all()
    Event().wait(AWAY_S)
    world.redis_server.start()
    wave.strike(wave.aims, at, monotonic())


def kill_redis_server(world: World) -> None:
    if world.redis_server.pid is not None:
        os.kill(world.redis_server.pid, signal.SIGKILL)
        until(lambda: not world.redis_server.is_running, SETTLED_SOON_S)


def meddle(way: Way) -> Callable[[Wave], None]:
    """Messages come twice, late, or in another order; forged ones for the step that stands, too."""

    def strike(wave: Wave) -> None:
        world = wave.world
        with Meddler(world.redis_server.url, way):
            at = monotonic()
            if way == "duplicate":
                ring_again(wave)
            wave.open_all()
            wave.strike(wave.aims, at)
            Event().wait(MEDDLING_S)

    return strike


def ring_again(wave: Wave) -> None:
    """Ring several times for the steps that stand, and for their neighbours."""
    wave.world.desk.bell.ring(
        [
            Envelope(aim.asked.tenant_id, aim.job_id, seq, "again", JobClass.DEFAULT, Work.WAITS)
            for aim in wave.aims
            for seq in range(max(1, aim.seqs[0] - 1), aim.seqs[-1] + 3)
            for _ in range(2)
        ]
    )


def skew_clocks(wave: Wave) -> None:
    """The wall clocks of the workers jump: one an hour ahead, the next an hour back."""
    world = wave.world
    members = world.crew.of("worker")
    at = monotonic()
    put_clocks_wrong(world, members)
    wave.strike(wave.aims, at)
    wave.open_all()
    wave.wake_the_parked(wave.aims)
    until(lambda: world.are_settled([aim.job_id for aim in wave.aims]), SETTLED_SOON_S)
    skew.put_clocks(world.folder, {})


def put_clocks_wrong(world: World, members: Sequence[Member]) -> None:
    offsets = {each.pid: SKEW_S * (-1) ** n for n, each in enumerate(members)}
    skew.put_clocks(world.folder, offsets)
    Event().wait(4 * skew.LOOK_EVERY_S)


def fill_disk(wave: Wave) -> None:
    """For a moment, no artifact can be written."""
    at = monotonic()
    with disk.full(wave.world.postgres.admin_url):
        wave.open_all()
        Event().wait(FULL_S)
    wave.strike(wave.aims, at, monotonic())


MAILS: dict[Point, Sequence[Spot]] = {
    Point.BEFORE_EFFECT: [Spot("mailer", (4,)), Spot("mailer", (3,))],
    Point.AFTER_EFFECT: [Spot("mailer", (4,)), Spot("mailer", (3,))],
    Point.JOINING: [Spot("mailer", (3, 4))],
}


def let_mail_die(wave: Wave) -> None:
    """The mail server dies in the middle of a message, or after it took it and before it says so.

    It does so by itself, over the mails it was told of: see `Wave.arm`.
    """
    for aim in wave.aims:
        wave.strike([aim], aim.standing[0].at if aim.standing else monotonic())


@dataclass(frozen=True)
class Fault:
    """A row of the matrix."""

    name: str
    strike: Callable[[Wave], None]
    points: tuple[Point, ...] = EVERYWHERE
    spots: dict[Point, Sequence[Spot]] = field(default_factory=dict)


FAULTS = (
    Fault("worker killed", kill),
    Fault("worker frozen", freeze),
    Fault("postgres restarted", restart_postgres),
    Fault("postgres crashed", crash_postgres),
    Fault("answer lost", lose_answers, ANSWERED),
    Fault("redis emptied", flush_redis),
    Fault("redis killed", kill_redis),
    Fault("messages doubled", meddle("duplicate")),
    Fault("messages late", meddle("delay")),
    Fault("messages mixed", meddle("reorder")),
    Fault("clocks wrong", skew_clocks),
    Fault("disk full", fill_disk, tuple(FILES), FILES),
    Fault("mail server died", let_mail_die, tuple(MAILS), MAILS),
)

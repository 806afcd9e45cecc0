"""How a world under load comes back: the steps of a killed worker, the pace after Redis is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread
from time import monotonic

from tests.faults import people
from tests.faults.ledger import read_begins
from tests.faults.storm import Load
from tests.faults.strikes import kill_redis_server
from tests.faults.weather import Planned, Sky
from tests.faults.world import World

WARM_S, BEFORE_S, AFTER_S = 4.0, 5.0, 15.0
TOP_UP_S = 0.05
WINDOW_S, SLIDE_S = 1.0, 0.1
BACK_SHARE = 0.9

KILLS = 12
# Beyond a lease, so that one loss is over before the next.
APART_S = (6.0, 7.0)
KILLED, UNDER_LOAD = "worker killed", "under load"


@dataclass(frozen=True, slots=True)
class Comeback:
    """`steps_per_s` before the loss; `back_s` after it, until a second is as good as before.

    Infinite when it did not come back while it was watched.
    """

    steps_per_s: float
    back_s: float


def empty(world: World) -> None:
    world.redis.flushall()


def kill(world: World) -> None:
    kill_redis_server(world)
    world.redis_server.start()


def measure_redis(world: World, lose: Callable[[World], None]) -> Comeback:
    """Lose all of Redis under load, and watch how many steps begin."""
    with under_load(world, nap_ms_max=50.0):
        Event().wait(WARM_S + BEFORE_S)
        lost_at = monotonic()
        lose(world)
        Event().wait(max(0.0, lost_at + AFTER_S - monotonic()))
    moments = [began.at for began in read_begins(world.facts.claims)]
    return compare(moments, lost_at)


def kill_in_turn(world: World, kills: int = KILLS, seed: int = 0) -> None:
    """Kill one worker after another under load; the struck steps are in the facts."""
    sky, draw = Sky(world), random.Random(seed)
    with under_load(world, nap_ms_max=2_000.0):
        Event().wait(WARM_S)
        for n in range(kills):
            members = world.crew.of("worker")
            sky.strike(Planned(0.0, KILLED, (n % len(members)) / len(members)))
            Event().wait(draw.uniform(*APART_S))
            world.crew.wait_until_ready()
    for n, struck in enumerate(world.facts.struck):
        if struck.fault == KILLED and not struck.transition:
            world.facts.struck[n] = replace(struck, transition=UNDER_LOAD)


@contextmanager
def under_load(world: World, nap_ms_max: float) -> Iterator[None]:
    """While the block lasts, as many jobs are under way as may be; afterwards they end."""
    load = Load(world, random.Random(0), {"chain": 1}, nap_ms_max)
    hand = Thread(target=_keep, args=(load,), daemon=True)
    hand.start()
    try:
        yield
    finally:
        load.is_over.set()
        hand.join()
    people.answer_all(world)


def _keep(load: Load) -> None:
    while not load.is_over.wait(TOP_UP_S):
        load.top_up()


def compare(moments: list[float], lost_at: float) -> Comeback:
    """What the moments at which steps began say about a loss."""

    def rate(since: float, seconds: float) -> float:
        return sum(since <= at < since + seconds for at in moments) / seconds

    before = rate(lost_at - BEFORE_S, BEFORE_S)
    for n in range(int((AFTER_S - WINDOW_S) / SLIDE_S)):
        if rate(lost_at + n * SLIDE_S, WINDOW_S) >= BACK_SHARE * before:
            return Comeback(before, n * SLIDE_S)
    return Comeback(before, float("inf"))

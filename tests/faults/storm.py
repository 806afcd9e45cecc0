"""A storm: jobs flow through a world while faults strike it every couple of seconds.

Three hands are at work besides the world's own members, each in a thread: one hands in jobs as long
as fewer than a bounded number are under way, one sends signals and answers, and one strikes by the
schedule of the seed. When the storm is over the world has to come to rest by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic

import psycopg

from store.errors import StoreError
from tests.faults import people
from tests.faults.weather import Planned, Sky, schedule
from tests.faults.world import World

BACKLOG_MAX = 150
HANDS_S = 0.25
NAP_MS_MAX = 400.0
CANCELLED_SHARE, EARLY_SHARE = 0.02, 0.3
REST_S_MAX = 120.0
# Who says whether a call has happened looks after the last who could still make it.
DOUBT_S = 20.0
PROGRAMS = {"chain": 12, "fanout": 4, "mailer": 2, "patient": 3, "parent": 1, "buyer": 1}


@dataclass(frozen=True, slots=True)
class Length:
    """When a storm is over: after so many minutes, or when so many jobs and faults have been."""

    minutes: float = 0.0
    jobs: int = 0
    faults: int = 0

    def is_over(self, began: float, jobs: int, faults: int) -> bool:
        if self.minutes:
            return monotonic() - began > self.minutes * 60
        return jobs >= self.jobs and faults >= self.faults


@dataclass
class Load:
    """A hand that hands in jobs of all programs, as long as few enough are under way."""

    world: World
    draw: random.Random
    programs: dict[str, int] = field(default_factory=lambda: dict(PROGRAMS))
    nap_ms_max: float = NAP_MS_MAX
    is_over: Event = field(default_factory=Event)

    def top_up(self) -> None:
        """Hand in jobs until as many are under way as may be."""
        [(under_way,)] = self.world.ask(
            "select count(*) from stepwell.jobs"
            " where finished_at is null and status <> 'input_required' and parent_job_id is null"
        )
        for _ in range(BACKLOG_MAX - under_way):
            if self.is_over.is_set():
                return
            self.hand_in()

    def hand_in(self) -> None:
        (program,) = self.draw.choices(list(self.programs), list(self.programs.values()))
        is_cancelled = self.draw.random() < CANCELLED_SHARE
        is_early = self.draw.random() < EARLY_SHARE
        asked = self.world.submit(
            program,
            nap_ms=self.draw.uniform(0.0, self.nap_ms_max),
            outcomes=("cancelled", "completed") if is_cancelled else ("completed",),
        )
        if is_cancelled:
            self.world.cancel(asked)
        elif program == "patient" and is_early:
            self.world.signal(asked, "go")


class Storm:
    """One storm over one world."""

    def __init__(self, world: World, seed: int, length: Length) -> None:
        self.world = world
        self.sky = Sky(world)
        self.length = length
        self.load = Load(world, random.Random(f"load {seed}"))
        self._schedule = schedule(seed)
        self._over = Event()
        self._began = monotonic()
        self._errors: list[Exception] = []

    def run(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Let it rage, then wait until the world has come to rest; raises what a hand raised."""
        self._began = monotonic()
        works = (self.load.top_up, self._say)
        hands = [Thread(target=self._keep, args=(work,), daemon=True) for work in works]
        for hand in hands:
            hand.start()
        try:
            self._strike(tell)
        finally:
            self._over.set()
            self.load.is_over.set()
            for hand in hands:
                hand.join()
            self.sky.clear_up()
        if self._errors:
            raise self._errors[0]
        self._come_to_rest()

    def _strike(self, tell: Callable[[str], None]) -> None:
        lag_s = 0.0
        while not self._is_over():
            planned = next(self._schedule)
            self._over.wait(max(0.0, self._began + lag_s + planned.at_s - monotonic()))
            # What came late puts all that follows off: faults must not come in heaps.
            lag_s = max(lag_s, monotonic() - self._began - planned.at_s)
            if not self._is_over():
                tell(self._told(planned))
                self.sky.strike(planned)

    def _told(self, planned: Planned) -> str:
        jobs = len(self.world.facts.asked)
        return f"{monotonic() - self._began:6.1f} s  {jobs:6,} jobs  {planned.fault}"

    def _is_over(self) -> bool:
        faults = self.world.faults.total()
        jobs = len(self.world.facts.asked)
        return bool(self._errors) or self.length.is_over(self._began, jobs, faults)

    # -- the hands --------------------------------------------------------------------------

    def _keep(self, work: Callable[[], None]) -> None:
        while not self._over.wait(HANDS_S):
            try:
                work()
            except (StoreError, psycopg.Error):
                continue  # Postgres is away; so is this hand's work until it is back.
            except Exception as error:  # noqa: BLE001 - raised by whoever runs the storm
                self._errors.append(error)
                return

    def _say(self) -> None:
        """Send what is waited for, and answer what is asked; of doubts, only the old ones. Calls
        that need a yes get it."""
        waiting = self.world.ask(
            "select job_id from stepwell.waits where state = 'pending' and kind = 'signal'"
        )
        jobs = {job_id for (job_id,) in waiting}
        for asked in [each for each in list(self.world.facts.asked) if each.job_id in jobs]:
            self.world.signal(asked, "go")
        for tenant_id in self.world.tenants:
            people.answer_those_of(self.world, tenant_id, doubt_s=DOUBT_S)
            people.approve_those_of(self.world, tenant_id)

    # -- after it ---------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        self.world.crew.wait_until_ready()
        give_up_at = monotonic() + REST_S_MAX
        jobs = [asked.job_id for asked in self.world.facts.asked]
        while not self.world.are_settled(jobs) and monotonic() < give_up_at:
            self._say()
            Event().wait(HANDS_S)
        people.answer_all(self.world)

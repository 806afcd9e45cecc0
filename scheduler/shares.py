"""Shares: how much of each class is brought to the lanes, and how shallow they stay.

Lanes hold only what keeps the slots of live workers busy until the next round: a message for every
free slot, and a few ahead. What is ahead follows what the workers have taken since the last round,
so short steps find more and long ones less. Everything else waits in Postgres, where it can still
be put in another order.

The most urgent class is served first, and so on down. So that none starves, each of the others is
guaranteed a share of the slots, counted in slot-seconds: it may have that many slots, and what it
takes above them one moment it is not given the next. From level 2 on, batch and background get that
share and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from time import monotonic

from store.load import Capacity
from store.states import JobClass, Work

# The least share of the slots that a class gets while it has something waiting.
GUARANTEED = {JobClass.DEFAULT: 0.10, JobClass.BATCH: 0.05, JobClass.BACKGROUND: 0.05}
# Those that get no more than that from this level on.
HELD_BACK, HELD_BACK_LEVEL = (JobClass.BATCH, JobClass.BACKGROUND), 2
# How long a share that was not used, or was used twice, is remembered.
MEMORY_S = 10.0
# A little more than was taken since the last round is kept ahead.
AHEAD_FACTOR = 1.5

Lane = tuple[JobClass, Work]


@dataclass
class Division:
    """What a round may take: `first` before all else, `room` by lane, `most` by kind of work."""

    first: dict[Lane, int] = field(default_factory=dict)
    room: dict[Lane, int] = field(default_factory=dict)
    most: dict[Work, int] = field(default_factory=dict)


class Shares:
    """What one scheduler remembers from round to round. `ahead` is in messages a slot."""

    def __init__(self, ahead: float = 0.5, clock: Callable[[], float] = monotonic) -> None:
        self._ahead = ahead
        self._clock = clock
        self._divided_at: float | None = None
        self._credit: dict[Lane, float] = {}
        self._lay: dict[Work, int] = {}

    def divide(
        self, capacity: Capacity, depths: Mapping[Lane, int], *, level: int, depth_max: int
    ) -> Division:
        """What this round may bring to lanes that hold `depths` messages, at most `depth_max`."""
        now = self._clock()
        passed_s = 0.0 if self._divided_at is None else now - self._divided_at
        self._divided_at = now
        division = Division()
        for work in Work:
            lanes = [(each, work) for each in JobClass]
            division.room |= {lane: max(0, depth_max - depths.get(lane, 0)) for lane in lanes}
            slots = capacity.slots.get(work, 0)
            if not slots:
                # Nobody is there yet: whoever comes should find something.
                division.most[work] = sum(division.room[lane] for lane in lanes)
                continue
            for lane in lanes:
                self._grant(division, lane, slots, capacity, depths, passed_s)
                if level >= HELD_BACK_LEVEL and lane[0] in HELD_BACK:
                    division.room[lane] = division.first[lane]
            lying = sum(depths.get(lane, 0) for lane in lanes)
            running = sum(capacity.running.get(lane, 0) for lane in lanes)
            wanted = max(0, slots - running) + self._keep_ahead(work, slots, lying) - lying
            granted = sum(division.first.get(lane, 0) for lane in lanes)
            division.most[work] = max(0, wanted, granted)
        return division

    def remember(self, depths: Mapping[Lane, int], rung: Mapping[Work, int]) -> None:
        """What lies on the lanes after a round that has rung so often."""
        for work in Work:
            lying = sum(depths.get((each, work), 0) for each in JobClass)
            self._lay[work] = lying + rung.get(work, 0)

    def _keep_ahead(self, work: Work, slots: int, lying: int) -> int:
        taken = max(0, self._lay.get(work, 0) - lying)
        return ceil(max(self._ahead * slots, AHEAD_FACTOR * taken))

    def _grant(
        self,
        division: Division,
        lane: Lane,
        slots: int,
        capacity: Capacity,
        depths: Mapping[Lane, int],
        passed_s: float,
    ) -> None:
        """Give the lane what is missing to its guaranteed share, unless it had more before."""
        share = GUARANTEED.get(lane[0], 0.0) * slots
        running = capacity.running.get(lane, 0)
        credit = self._credit.get(lane, 0.0) + (share - running) * passed_s
        self._credit[lane] = max(-MEMORY_S * share, min(MEMORY_S * share, credit))
        missing = ceil(share) - running - depths.get(lane, 0)
        granted = missing if self._credit[lane] >= 0 else 0
        division.first[lane] = max(0, min(granted, division.room[lane]))

"""Census: about once a second, one scheduler counts what waits, and judges how bad it is.

Whoever comes first takes it; the others find it fresh, or held, and go. It reads the index of what
waits, so it costs more the more there is: the interval stretches to twenty times what it cost,
which bounds its share of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp
from time import monotonic

import structlog

from scheduler.levels import Standing, is_crowded, judge, least_wait_s
from scheduler.settings import SchedulerSettings
from scheduler.shares import GUARANTEED
from store import load
from store.doors import Doors
from store.rows import ClassLoad, PlatformLoad
from store.states import JobClass

log = structlog.get_logger(__name__)

# A census may cost a twentieth of the time.
COST_FACTOR = 20.0
# What was measured longer ago than this counts for a third.
RATE_MEMORY_S = 10.0
# How often it is learned anew how long jobs usually take.
USUAL_EVERY_S = 10.0


def take_census(doors: Doors, settings: SchedulerSettings) -> int:
    """One round; returns 1 when the census was taken, 0 when there was no need."""
    with doors.as_operator("census") as tx:
        before = load.hold(tx, settings.census_every_s, COST_FACTOR)
        if before is None:
            return 0
        earlier = load.read_classes(tx)
        capacity = load.read_capacity(tx)
        passed_s = before.measured_age_s or 0.0
        counting = monotonic()
        load.count_lines(tx, capacity, passed_s)
        cost_s = monotonic() - counting
        classes = load.read_classes(tx)
        started_per_s = sum(speed(each, passed_s) or 0.0 for each in classes.values())
        load.keep_rates(
            tx,
            [
                replace(
                    found,
                    started_per_s=rate(
                        earlier[each], found, passed_s, GUARANTEED.get(each, 0.0) * started_per_s
                    ),
                    weights=smooth(earlier[each].weights, found.weights, passed_s),
                )
                for each, found in classes.items()
            ],
        )
        if before.judged_age_s is None or before.judged_age_s >= settings.level_interval_s:
            standing = _judge(before, classes, sum(capacity.slots.values()), settings)
            load.keep_level(tx, standing.level, standing.calm)
            load.forget_waits(tx)
        if before.usual_age_s is None or before.usual_age_s >= USUAL_EVERY_S:
            load.keep_usual(tx)
        load.close_census(tx, capacity, cost_s)
    return 1


def rate(earlier: ClassLoad, found: ClassLoad, passed_s: float, prior: float) -> float | None:
    """How many starts a second come out of the backlog lately.

    Only time in which there was a backlog tells something: without one, nothing comes out of it
    however fast the platform is. `prior` is what its guaranteed share comes to, for a beginning.
    """
    now = speed(found, passed_s)
    if now is None or not earlier.waiting:
        return found.started_per_s
    if found.started_per_s is None:
        return max(now, prior) or None
    return smooth(found.started_per_s, now, passed_s)


def speed(found: ClassLoad, passed_s: float) -> float | None:
    """Starts a second since the last census; None when no time has passed."""
    return max(0, found.started - found.started_counted) / passed_s if passed_s > 0 else None


def smooth(earlier: float, now: float, passed_s: float) -> float:
    """A figure that forgets what was before by and by."""
    kept = exp(-passed_s / RATE_MEMORY_S)
    return earlier * kept + now * (1 - kept)


def _judge(
    before: PlatformLoad,
    classes: Mapping[JobClass, ClassLoad],
    slots: int,
    settings: SchedulerSettings,
) -> Standing:
    wait_min_s = least_wait_s(classes)
    found = judge(
        Standing(before.level, before.calm),
        wait_min_s,
        is_crowded=is_crowded(classes, slots),
        target_s=settings.level_target_s,
    )
    level = min(found.level, settings.level_max)
    if level != before.level:
        log.warning("level", level=level, was=before.level, wait_min_s=round(wait_min_s, 3))
    return Standing(level, found.calm)

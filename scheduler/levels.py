"""Levels: from a queue that does not go away to how much the platform still takes on.

    0  normal
    1  optional work is left out
    2  batch and background get their guaranteed share and no more
    3  new default work is taken only where it can start at once

A queue that comes and goes is what a queue is for. One that stands is not: when even the start that
waited least, over a whole interval, waited longer than the target, the level rises by one. It falls
by one after two intervals in a row below half of the target, so it does not flutter. (The detector
is CoDel's: Nichols and Jacobson, "Controlling queue delay", 2012; here it works on seconds.)

A queue shorter than the slots is gone with the next round of steps, so it raises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from store.rows import ClassLoad
from store.states import JobClass

LEVEL_MAX = 3
# How many calm intervals in a row it takes to come down by one.
CALM_INTERVALS = 2
# Those whose waiting is what the level is about.
WATCHED = (JobClass.INTERACTIVE, JobClass.DEFAULT)


@dataclass(frozen=True, slots=True)
class Standing:
    """The level, and how many calm intervals in a row there were."""

    level: int = 0
    calm: int = 0


def judge(now: Standing, wait_min_s: float, *, is_crowded: bool, target_s: float) -> Standing:
    """The standing after one more interval in which every start waited at least `wait_min_s`."""
    if wait_min_s > target_s:
        return Standing(min(LEVEL_MAX, now.level + is_crowded), 0)
    if wait_min_s >= target_s / 2:
        return Standing(now.level, 0)
    if now.calm + 1 < CALM_INTERVALS:
        return Standing(now.level, now.calm + 1)
    return Standing(max(0, now.level - 1), 0)


def least_wait_s(classes: Mapping[JobClass, ClassLoad]) -> float:
    """What the luckiest start of the watched classes waited; 0 where nothing waits."""
    waits = (_least_of(classes[each]) for each in WATCHED)
    return min((wait_s for wait_s in waits if wait_s is not None), default=0.0)


def _least_of(one: ClassLoad) -> float | None:
    """None when there was no queue; 0 when there was one and it has gone."""
    if one.wait_min_s is None:
        return one.oldest_s
    return one.wait_min_s if one.waiting else 0.0


def is_crowded(classes: Mapping[JobClass, ClassLoad], slots: int) -> bool:
    """Whether more waits than the live slots take up at once; never where there are none."""
    return 0 < slots < sum(classes[each].waiting for each in WATCHED)

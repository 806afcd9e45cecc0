"""Admission: whether a new job is taken on, decided before it exists and never taken back.

A job that is taken on is kept (admitted_is_kept); so what cannot be done in time is refused at the
door, with a time to come back. Four things are looked at, in this order:

    quota       the tenant has as many steps waiting as it may have
    depth       so much of the class waits that the table itself is in danger
    level 3     a queue stands: new default work is taken where it can start at once
    deadline    the tenant's own line, as fast as it moves, and then the time that a job of the
                agent usually takes, do not fit into four fifths of the deadline

The wait is that of the tenant's line, because dispatch goes round by tenant: what others have
waiting slows a line down to its share, and no further. It is only believed where there is a crowd.
What nobody knows (no census, no rate yet) refuses nobody.

Whoever is refused is told when it would fit: when enough of the line has gone, behind those who
were told so before, and with up to a fifth more by lot. Who comes back then with the same request
is let in before others: as long as some are still to come, the last part of the room is kept for
them. That keeps the word given.

Steps of jobs that were taken on, answers, signals, cancels and looks are never refused.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import inf
from threading import Lock
from time import monotonic
from uuid import UUID

from jobs.lifecycle.limits import Limits
from store.load import Line
from store.states import JobClass, Work

# A census older than this says nothing any more.
STALE_S = 15.0
# So few waiting steps are no crowd, however few slots there are.
CROWD_MIN = 10
# Of the deadline: what wait and work together may take; and the least that is left for the wait.
DEADLINE_PART, PATIENCE_PART = 0.8, 0.1
# What passes between a turn and the claim: the next round, and the way over a lane.
LANE_S = 0.5
# At level 3, a line this short is as good as none.
START_WAIT_S = 5.0
# While somebody is to come back: the part of a wait, and of the places of a class, that is there
# for those who come unannounced. How early and late one may come who was told to.
OPEN_WAIT_PART, OPEN_PLACES_PART = 0.7, 0.95
# And who comes as told may find the line a little longer than was thought.
WELCOME_PART = 1.1
WELCOME_EARLY_S, WELCOME_LATE_S = 1.0, 60.0
RETRY_AFTER_S_MIN, JITTER_PART = 1.0, 0.2
# What the tables say of a line is good for so long: less than the census is old anyway.
LINE_KEPT_S, LINES_MAX = 0.1, 1_000
# Told where nobody knows how fast the line moves.
RETRY_AFTER_S_UNKNOWN = 10.0


class Code(StrEnum):
    """Why a job was refused."""

    QUOTA = "quota"
    DEPTH = "depth"
    LEVEL = "level"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Asked:
    """What admission has to know of a submission. `deadline_s` counts from now."""

    agent: str
    job_class: JobClass
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """A no, with its reason for a person, and when it would be a yes."""

    code: Code
    reason: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Let:
    """How many this process has let in to wait since the census: in all, and of the tenant.

    `promised` is how many of the line it has told to come back.
    """

    in_class: int = 0
    in_line: int = 0
    of_tenant: int = 0
    promised: int = 0


def decide(
    line: Line,
    asked: Asked,
    limits: Limits,
    let: Let = Let(),
    *,
    is_expected: bool = False,
    draw: Callable[[], float] = random.random,
) -> Refuse | None:
    """None: it is taken on. `is_expected` says that it comes back as it was told to."""
    if not is_known(line):
        return None
    way = Way.of(line, let)
    part = OPEN_WAIT_PART if way.promised else 1.0
    part = WELCOME_PART if is_expected else part
    for look in (_look_at_quota, _look_at_depth, _look_at_level, _look_at_deadline):
        found = look(line, asked, limits, way, part)
        if found is not None:
            code, reason, wait_s = found
            return Refuse(code, reason, _come_back_after(wait_s, limits, draw()))
    return None


def is_known(line: Line) -> bool:
    """Whether the census can be believed."""
    age_s = line.platform.measured_age_s
    return age_s is not None and age_s <= STALE_S


@dataclass(frozen=True, slots=True)
class Way:
    """What lies before a submission: how many in the class and in its line, and how fast they go.

    `in_class` and `in_line` are steps; `class_per_s` and `line_per_s` are starts, None if unknown.
    `age_s` is how long they have been starting since they were counted.
    """

    in_class: int
    in_line: int
    of_tenant: int
    promised: int
    class_per_s: float | None
    line_per_s: float | None
    is_crowded: bool
    age_s: float

    @classmethod
    def of(cls, line: Line, let: Let) -> Way:
        in_class = line.its_class.waiting + let.in_class
        rate = line.its_class.started_per_s
        weights = max(line.weight, line.its_class.weights + line.weight * (line.waiting == 0))
        slots = sum(line.platform.slots.values())
        return cls(
            in_class=in_class,
            in_line=line.waiting + let.in_line,
            of_tenant=line.waiting_anywhere + let.of_tenant,
            promised=line.promised + let.promised,
            class_per_s=rate,
            line_per_s=None if rate is None else rate * line.weight / weights,
            is_crowded=slots > 0 and in_class > max(slots, CROWD_MIN),
            age_s=line.platform.measured_age_s or 0.0,
        )

    @property
    def wait_s(self) -> float:
        """How long the line takes; never longer than everything that waits would."""
        if self.class_per_s is None or self.line_per_s is None:
            return 0.0
        line_s = _over(self.in_line, self.line_per_s)
        return max(0.0, min(line_s, _over(self.in_class, self.class_per_s)) - self.age_s)


Found = tuple[Code, str, float] | None


def _look_at_quota(line: Line, _: Asked, __: Limits, way: Way, ___: float) -> Found:
    if line.waiting_max is None or way.of_tenant < line.waiting_max:
        return None
    reason = f"This tenant has {way.of_tenant:,} steps waiting, and may have {line.waiting_max:,}."
    excess = way.of_tenant + 1 - line.waiting_max + way.promised
    return Code.QUOTA, reason, _time_for(excess, way.line_per_s)


def _look_at_depth(_: Line, asked: Asked, limits: Limits, way: Way, part: float) -> Found:
    waiting_max = limits.waiting_max(asked.job_class)
    if way.in_class < waiting_max * min(1.0, max(part, OPEN_PLACES_PART)):
        return None
    reason = (
        f"{way.in_class:,} steps of class {asked.job_class} wait already, and this platform lets "
        f"{waiting_max:,} wait."
    )
    excess = way.in_class + 1 - waiting_max + way.promised
    return Code.DEPTH, reason, _time_for(excess, way.class_per_s)


def _look_at_level(line: Line, asked: Asked, _: Limits, way: Way, part: float) -> Found:
    is_held = line.platform.level >= 3 and asked.job_class is JobClass.DEFAULT
    if not (is_held and way.is_crowded and way.wait_s > START_WAIT_S * part):
        return None
    reason = (
        f"The platform is overloaded (level {line.platform.level}): for now, work of class "
        f"{asked.job_class} is taken on only where it can start at once."
    )
    return Code.LEVEL, reason, _time_until(START_WAIT_S, way)


def _look_at_deadline(line: Line, asked: Asked, _: Limits, way: Way, part: float) -> Found:
    if asked.deadline_s is None or not way.is_crowded:
        return None
    usual_s = line.platform.usual_s.get(asked.agent, 0.0)
    part_s = DEADLINE_PART * asked.deadline_s
    patience_s = max(part_s - usual_s - LANE_S, PATIENCE_PART * asked.deadline_s)
    if way.wait_s <= patience_s * part:
        return None
    wait = "too long to tell" if way.wait_s == inf else f"about {way.wait_s:,.0f} s"
    reason = (
        f"It would not be done within its deadline of {asked.deadline_s:g} s: it would wait "
        f"{wait}, and then usually take {usual_s:,.0f} s."
    )
    return Code.DEADLINE, reason, _time_until(patience_s, way)


def _time_until(fits_s: float, way: Way) -> float:
    """When the line is short enough, behind those who were told so before."""
    return way.wait_s - fits_s + _over(way.promised + 1, way.line_per_s or 0.0)


def _time_for(steps: int, per_s: float | None) -> float:
    return RETRY_AFTER_S_UNKNOWN if per_s is None else _over(steps, per_s)


def _come_back_after(wait_s: float, limits: Limits, lot: float) -> float:
    """Bounded, and never the same for everybody."""
    bounded_s = min(limits.retry_after_s_max, max(RETRY_AFTER_S_MIN, wait_s))
    return bounded_s * (1 + JITTER_PART * lot)


def _over(steps: int, per_s: float) -> float:
    if not steps:
        return 0.0
    return steps / per_s if per_s > 0 else inf


@dataclass
class Tally:
    """Whom this process has let in or told to come back since the last census, and the slots.

    A census is a second old; a burst is faster than that. Safe to use from many threads.
    """

    _as_of: datetime | None = None
    _slots: dict[Work, int] = field(default_factory=dict)
    _let: Counter[tuple[UUID, JobClass]] = field(default_factory=Counter)
    _told: Counter[tuple[UUID, JobClass]] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def read(self, line: Line, tenant_id: UUID, job_class: JobClass) -> Let:
        """What is to be added to what the census says; begins anew with every census."""
        with self._lock:
            if line.platform.measured_at != self._as_of:
                self._as_of = line.platform.measured_at
                self._let.clear()
                self._told.clear()
            self._slots = dict(line.platform.slots) if is_known(line) else {}
            return Let(
                in_class=sum(n for (_, each), n in self._let.items() if each is job_class),
                in_line=self._let[tenant_id, job_class],
                of_tenant=sum(n for (whose, _), n in self._let.items() if whose == tenant_id),
                promised=self._told[tenant_id, job_class],
            )

    def add(self, tenant_id: UUID, job_class: JobClass, steps: int) -> None:
        """Note that somebody was let in to wait."""
        with self._lock:
            self._let[tenant_id, job_class] += steps

    def promise(self, tenant_id: UUID, job_class: JobClass) -> None:
        """Note that somebody was told to come back."""
        with self._lock:
            self._told[tenant_id, job_class] += 1

    def depth_of(self, work: Work) -> int | None:
        """How many messages a lane should hold: one for each slot; None when nobody knows."""
        return self._slots.get(work) or None


@dataclass
class Lines:
    """The lines as this process read them a moment ago, so that a burst does not read each again.

    Safe to use from many threads; two may read the same line at once.
    """

    kept_s: float = LINE_KEPT_S
    _found: dict[tuple[UUID, JobClass], tuple[float, Line]] = field(default_factory=dict)

    def find(
        self, tenant_id: UUID, job_class: JobClass, read: Callable[[], Line | None]
    ) -> Line | None:
        """What stands before a submission, `read` from the tables where it is not known."""
        known = self._found.get((tenant_id, job_class))
        if known is not None and monotonic() - known[0] < self.kept_s:
            return known[1]
        line = read()
        if line is not None:
            if len(self._found) >= LINES_MAX:
                self._found = {}
            self._found[tenant_id, job_class] = monotonic(), line
        return line

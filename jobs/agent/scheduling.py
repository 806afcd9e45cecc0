"""Two tools for the time to come: `schedule` makes one, `reschedule_self` moves the next run.

What a schedule has made must not make schedules, or one that has gone astray would multiply. It may
say when it wants to run next, once a run. Both are refused where they do not belong whatever the
model was shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from math import inf
from typing import Any

from jobs.agent.diary import Diary, ScheduleWish
from jobs.agent.tool import Tool, ToolContext, ToolFailed, tool
from jobs.policy.rules import ALLOW, Policy
from scheduler.timetable import NoTimetable, Timetable
from store.states import Origin

EVERY_S_MIN = 60
AWAY_MAX = timedelta(days=366)
# How many ticks of a cron expression are looked at, for how close they come.
TICKS_READ = 50


def schedule_tool(
    agents: Sequence[str] = (), *, every_s_min: int = EVERY_S_MIN, policy: Policy | None = None
) -> Tool:
    """A tool by which a model makes schedules of its own agent, or of one of `agents`.

    Their jobs are asked for by whoever asked for the job that made them, with the same roles, model
    and class. `every_s_min` is the shortest time in seconds between two ticks, by an interval or by
    cron. `policy` is as for `@tool`: where none is given, whoever asked for the job confirms each
    schedule.
    """

    def schedule(
        ctx: ToolContext,
        name: str,
        input: dict[str, Any],  # noqa: A002 - the word the API uses
        cron: str | None = None,
        every_s: int | None = None,
        at: datetime | None = None,
        zone: str = "UTC",
        agent: str | None = None,
    ) -> dict[str, Any]:
        """Do something later, once or again and again. Give exactly one of cron, every_s and at.

        Args:
            name: what to call it; no other schedule has this name.
            input: what each of its jobs is asked, as the agent takes it.
            cron: minute, hour, day of month, month, day of week; such as `30 7 * * 1-5`.
            every_s: an interval in seconds.
            at: a single moment.
            zone: the time zone whose clocks count, such as `Europe/Berlin`.
            agent: who does it; the one that asks, when left out.
        """
        diary = _diary_of(ctx)
        chosen = agent or diary.agent
        if chosen not in (diary.agent, *agents):
            allowed = ", ".join(dict.fromkeys((diary.agent, *agents)))
            raise ToolFailed(f"{chosen!r} cannot be scheduled from here, only {allowed}.")
        if _shortest_gap_s(cron, every_s) < every_s_min:
            raise ToolFailed(f"The shortest interval is {every_s_min} seconds.")
        return diary.make(
            ScheduleWish(name, chosen, input, cron=cron, every_s=every_s, at=at, zone=zone)
        )

    # Nothing that came by a schedule, however far up its line, makes another one.
    origins = [each for each in Origin if each is not Origin.SCHEDULE]
    return tool(effect="write", idempotency="key", origins=origins, policy=policy)(schedule)


def reschedule_self() -> Tool:
    """A tool by which a job that a schedule made moves the next run of that schedule, once."""

    def reschedule_self(
        ctx: ToolContext, at: datetime | None = None, after_s: float | None = None
    ) -> dict[str, Any]:
        """Say when you want to run next, in place of your next run. Only once in a run.

        Args:
            at: the moment; in UTC when it names no zone.
            after_s: or how many seconds from now.
        """
        diary = _diary_of(ctx)
        now = datetime.now(UTC)
        if (at is None) == (after_s is None):
            raise ToolFailed("Give either at or after_s.")
        if after_s is not None and not 0 < after_s <= AWAY_MAX.total_seconds():
            raise ToolFailed(f"after_s is more than 0 and at most {AWAY_MAX.total_seconds():,.0f}.")
        wanted = at or now + timedelta(seconds=after_s or 0.0)
        wanted = wanted if wanted.tzinfo is not None else wanted.replace(tzinfo=UTC)
        if wanted - now > AWAY_MAX:
            raise ToolFailed(f"That moment is more than {AWAY_MAX.days} days away.")
        return diary.move_next(wanted)

    # Nobody is asked: it cannot make a run, only move the one that comes anyway.
    return tool(effect="write", idempotency="key", policy=ALLOW)(reschedule_self)


def _shortest_gap_s(cron: str | None, every_s: int | None) -> float:
    """How close the ticks of a rhythm come to each other; one that is unknown is judged elsewhere.

    A cron expression is read by a clock that never jumps: what is daily is always a day apart.
    """
    if every_s is not None:
        return every_s
    if cron is None:
        return inf
    try:
        now = datetime.now(UTC)
        timetable = Timetable("UTC", now, cron=" ".join(cron.split()))
        ticks = list(islice(timetable.after(now), TICKS_READ))
    except NoTimetable:
        return inf
    return min(((b - a).total_seconds() for a, b in pairwise(ticks)), default=inf)


def _diary_of(ctx: ToolContext) -> Diary:
    if ctx.schedules is None:
        raise ToolFailed("Nothing can be scheduled from here.")
    return ctx.schedules

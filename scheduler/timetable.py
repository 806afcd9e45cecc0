"""Timetable: at which moments a schedule ticks, by the clocks of its time zone.

Cron expressions speak of wall clocks, and twice a year those jump. What then happens is what
Debian's cron does, told here as rules about moments rather than left to a library (which is only
asked which readings of a clock fit the expression):

    a fixed time      neither minute nor hour begins with `*`: `30 2 * * *`
        the hour is skipped    it ticks at the first moment after the gap
        the hour comes twice   it ticks the first time only
    a time that runs  minute or hour begins with `*`: `*/10 * * * *`, `0 * * * *`
        the hour is skipped    what was in the gap does not tick
        the hour comes twice   it ticks both times

So a daily run is never left out and never run twice, and a run every ten minutes comes every ten
minutes. An interval counts seconds from its beginning and knows no clocks; once is once.

Day of month and day of week both given mean either of them, unless one begins with `*`. Sunday is
0 and 7; `L` is the last day of a month, `LW` its last weekday, `5L` its last Friday, `MON#1` its
first Monday.

A jitter puts off each tick by its own share, which follows from the schedule and the tick: whoever
works it out comes to the same moment.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from itertools import takewhile
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

# No clock is ever set back by more than this.
SET_BACK_MAX = timedelta(hours=3)
SECOND = timedelta(seconds=1)
CRON_FIELDS = 5
# What lies among the zones of a system and is another one elsewhere, or counts leap seconds.
NO_ZONES = ("localtime", "posix", "right/", "Factory")


class NoTimetable(ValueError):
    """Nobody can go by this timetable; the message says why, `field` where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Timetable:
    """One rhythm: a cron expression, an interval, or a single moment.

    `starts_at` is what an interval is counted from. Where the next run was moved, `replaced_at` is
    the tick it is in place of, and the rhythm goes on after that one, too. Moments are aware; those
    given back are in UTC. Raises `NoTimetable` for what nobody can go by.
    """

    zone: str
    starts_at: datetime
    cron: str | None = None
    every_s: int | None = None
    once_at: datetime | None = None
    jitter_s: float = 0.0
    seed: UUID | None = None
    replaced_at: datetime | None = None

    def __post_init__(self) -> None:
        _ = self.tz
        if self.cron is not None:
            check_cron(self.cron)

    @cached_property
    def tz(self) -> ZoneInfo:
        return find_zone(self.zone)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Every tick after this moment, in order."""
        moment = max(moment, self.replaced_at or moment)
        if self.cron is not None:
            running = _is_running(self.cron)
            ticks = _readings_twice if running else _readings_once
            return ticks(self.cron, self.tz, moment)
        if self.every_s is not None:
            return self._intervals(moment, timedelta(seconds=self.every_s))
        return iter([self.once_at] if self.once_at is not None and self.once_at > moment else [])

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick after this moment; None when there is none any more."""
        return next(self.after(moment), None)

    def due_at(self, tick_at: datetime) -> datetime:
        """When this tick is to be fired: its jitter later."""
        if not self.jitter_s:
            return tick_at
        drawn = hashlib.sha256(f"{self.seed}:{tick_at.timestamp()}".encode()).digest()
        share = int.from_bytes(drawn[:8], "big") / 2**64
        return tick_at + timedelta(seconds=self.jitter_s * share)

    def come(self, first: datetime, now: datetime) -> Iterator[datetime]:
        """The ticks that have come by now: `first`, whether in the rhythm or not, and so on."""

        def ticks() -> Iterator[datetime]:
            yield first
            yield from self.after(first)

        return takewhile(lambda tick_at: self.due_at(tick_at) <= now, ticks())

    def _intervals(self, moment: datetime, step: timedelta) -> Iterator[datetime]:
        passed = (moment - self.starts_at) // step
        tick_at = self.starts_at + max(1, passed + 1) * step
        while True:
            yield tick_at.astimezone(UTC)
            tick_at += step


def check_cron(cron: str) -> None:
    """Raise `NoTimetable` for what is no cron expression of five fields."""
    fields = cron.split()
    if len(fields) != CRON_FIELDS:
        raise NoTimetable(
            "cron",
            f"{cron!r} has {len(fields)} fields; cron takes {CRON_FIELDS}: minute, hour, day of "
            "month, month, day of week. For less than a minute, use an interval.",
        )
    try:
        CronSim(cron, datetime(2000, 1, 1))
    except (CronSimError, ValueError) as error:
        raise NoTimetable("cron", f"{cron!r} is no cron expression: {_told(error)}.") from None


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that name; raises `NoTimetable` with a suggestion."""
    try:
        if not name.startswith(NO_ZONES):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of zones is an OSError, and so is a name that is too long.
        pass
    known = {zone for zone in available_timezones() if "/" in zone or zone == "UTC"}
    by_ending = sorted(zone for zone in known if zone.split("/")[-1].lower() == name.lower())
    close = by_ending or get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f" Did you mean {close[0]!r}?" if close else " It looks like 'Europe/Berlin'."
    raise NoTimetable("zone", f"{name[:60]!r} is no time zone.{hint}")


def _told(error: Exception) -> str:
    said = str(error) or type(error).__name__
    return said[:1].lower() + said[1:]


# --- from readings of a clock to moments ----------------------------------------------------------


def _is_running(cron: str) -> bool:
    minute, hour, *_ = cron.split()
    return minute.startswith("*") or hour.startswith("*")


def _readings_once(cron: str, tz: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The moment of every reading: the first one, or that after the gap in which it would be."""
    last = after
    for reading in CronSim(cron, _reading(after, tz)):
        moment = _first_moment(reading, tz)
        # Readings of one gap all come to its end.
        if moment > last:
            yield moment
            last = moment


def _readings_twice(cron: str, tz: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Every moment at which a clock has one of the readings, in the order of the moments."""
    begin = _reading(after, tz)
    if _offset(after + SET_BACK_MAX, tz) < _offset(after, tz):
        # Readings that were there before come again.
        begin -= SET_BACK_MAX
    again: deque[datetime] = deque()
    for reading in CronSim(cron, begin):
        moments = _moments(reading, tz)
        while again and moments and again[0] < moments[0]:
            yield again.popleft()
        if moments and moments[0] > after:
            yield moments[0]
        again += (moment for moment in moments[1:] if moment > after)


def _reading(moment: datetime, tz: ZoneInfo) -> datetime:
    """What a clock there shows."""
    return moment.astimezone(tz).replace(tzinfo=None)


def _moments(reading: datetime, tz: ZoneInfo) -> list[datetime]:
    """When a clock there shows this: once, twice where it is set back, never in a gap."""
    found = {reading.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(moment for moment in found if _reading(moment, tz) == reading)


def _first_moment(reading: datetime, tz: ZoneInfo) -> datetime:
    moments = _moments(reading, tz)
    return moments[0] if moments else _end_of_gap(reading, tz)


def _end_of_gap(reading: datetime, tz: ZoneInfo) -> datetime:
    """The moment at which clocks jumped over this reading."""
    before = reading.replace(tzinfo=tz, fold=1).astimezone(UTC)
    jumped = reading.replace(tzinfo=tz, fold=0).astimezone(UTC)
    offset = _offset(jumped, tz)
    while jumped - before > SECOND:
        middle = before + (jumped - before) // SECOND // 2 * SECOND
        if _offset(middle, tz) == offset:
            jumped = middle
        else:
            before = middle
    return jumped


def _offset(moment: datetime, tz: ZoneInfo) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta()

"""The questions about when: over time, by month, weekday and hour, and for groups apart.

The grain follows the span of the data: hours for two days, days for a season, months for years.
Explicit columns (`hour`, `month`) are preferred over a timestamp, because a timestamp may be
written in another time zone than the place it tells of.
"""

# ruff: noqa: S608 - identifiers are quoted and texts escaped by `wording`; the SQL runs confined
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from jobs.examples.analyst.planning.columns import Field, Table, parse_moment
from jobs.examples.analyst.planning.enquiries import Enquiry
from jobs.examples.analyst.planning.gauges import (
    Gauge,
    Selection,
    fewest_rows_ranked,
    gauge_for,
    source,
    where,
)
from jobs.examples.analyst.planning.question import Focus
from jobs.examples.analyst.planning.sentences_of_time import tell_cross, tell_series, tell_when
from jobs.examples.analyst.wording import TABLE_ROWS_MAX, capital, literal, quoted, words_of

Grain = Literal["hour", "day", "week", "month", "year"]

POINTS_MAX = 2_000
SERIES_MAX = 5
LINES_MAX = 4


@dataclass(frozen=True)
class Clockwork:
    """A way to cut time: the expression of the slot, what it is called, and whether it recurs."""

    key: str
    expression: str
    heading: str
    order: str | None = None


def grain_of(moment: Field) -> Grain:
    """The step that turns this span into roughly 12 to 120 points."""
    first, last = parse_moment(moment.low), parse_moment(moment.high)
    if first is None or last is None:
        return "month"
    days = (last - first).total_seconds() / 86_400
    if moment.distinct <= days / 365 + 2 and (first.month, first.day) == (last.month, last.day):
        return "year"
    if moment.distinct <= days / 28 + 2 and first.day == last.day:
        return "month" if days <= 366 * 16 else "year"
    if days <= 3 and moment.has_clock:
        return "hour"
    if days <= 100:
        return "day"
    if days <= 240:
        return "week"
    return "month" if days <= 366 * 16 else "year"


def over_time(table: Table, focus: Focus) -> Enquiry | None:
    """The measure along the calendar, or along a bare year column."""
    moment, year = table.calendar(), table.part("year")
    if moment is not None and moment.distinct > 2:
        grain = grain_of(moment)
        slot = _truncated(moment, grain)
        return _series(table, focus, grain, slot, moment)
    if year is not None and year.distinct > 2:
        return _series(table, focus, "year", year.expression, year)
    return None


def _truncated(moment: Field, grain: Grain) -> str:
    """The period a moment falls in, written as a person would: 2013, 2013-07, 2013-07-01."""
    if grain == "year":
        return f"year({moment.expression})"
    if grain == "month":
        return f"strftime({moment.expression}, '%Y-%m')"
    cut = f"date_trunc('{grain}', {moment.expression})"
    return cut if grain == "hour" else f"cast({cut} as date)"


def _series(table: Table, focus: Focus, grain: Grain, slot: str, moment: Field) -> Enquiry:
    gauges = gauges_of_lines(focus)
    gauge, heading = gauges[0], capital(grain)
    several = len(gauges) > 1
    points = _points(moment, grain)
    outer = points * len(gauges) > TABLE_ROWS_MAX
    single = moment.distinct >= table.rows and points >= 0.95 * moment.distinct
    sql = (
        _long_series(table, focus, heading, slot, gauges, extremes_first=outer)
        if several
        else _plain_series(table, focus, heading, slot, gauge, extremes_first=outer)
    )
    last = parse_moment(moment.high)
    return Enquiry(
        key="over-time",
        heading=f"{capital(name_of_lines(gauges))} over time",
        title=f"{capital(name_of_lines(gauges))} by {grain}",
        sql=sql,
        read=lambda result: tell_series(
            result, heading, gauges, grain, single=single, open_end=_open_end(last, grain)
        ),
        simpler=_plain_series(table, focus, heading, slot, gauge_for(None, focus)),
    )


def _points(moment: Field, grain: Grain) -> float:
    """About how many periods there will be."""
    length = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30.4, "year": 365.2}
    first, last = parse_moment(moment.low), parse_moment(moment.high)
    if first is None or last is None:
        return moment.distinct
    return min(moment.distinct, (last - first).total_seconds() / 86_400 / length[grain] + 1)


def gauges_of_lines(focus: Focus) -> list[Gauge]:
    """One line, or one per measure the question named, when they share a unit."""
    named = focus.measures[: max(1, min(focus.named_measures, LINES_MAX))]
    first = gauge_for(focus.measure, focus)
    gauges = [gauge_for(held, focus) for held in named] or [first]
    alike = {gauge.unit for gauge in gauges} == {first.unit}
    return list(dict.fromkeys(gauges)) if alike else [first]


def name_of_lines(gauges: list[Gauge]) -> str:
    """What the lines show, in words."""
    phrases = [gauge.phrase if len(gauges) == 1 else gauge.bare for gauge in gauges]
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + f" and {phrases[-1]}"


def _plain_series(
    table: Table,
    focus: Focus,
    heading: str,
    slot: str,
    gauge: Gauge,
    *,
    extremes_first: bool = False,
) -> str:
    select = Selection()
    select.add(slot, heading)
    select.add(gauge.counted, gauge.sample)
    if not gauge.counts_rows:
        select.add(gauge.expression, gauge.heading)
    condition = where(focus, f"{slot} is not null")
    sql = (
        f"select {select}\nfrom {source(table)}{condition}\ngroup by 1\nhaving {gauge.counted} > 0"
    )
    return _ordered(sql, quoted(heading), gauge.heading, extremes_first=extremes_first)


def _ordered(sql: str, order: str, figure: str, *, extremes_first: bool) -> str:
    """In their natural order, or from the outermost figures inwards, highest and lowest in turn.

    A long series comes with its extremes first, so that they are among the rows that are shown.
    """
    if not extremes_first:
        return f"{sql}\norder by {order}\nlimit {POINTS_MAX}"
    shown = quoted(figure)
    return (
        f"select * from (\n{sql}\n)\norder by least(\n"
        f"  row_number() over (order by {shown} desc nulls last, {order}),\n"
        f"  row_number() over (order by {shown} nulls last, {order})\n"
        f"), {shown} desc nulls last\nlimit {POINTS_MAX}"
    )


def _long_series(
    table: Table,
    focus: Focus,
    heading: str,
    slot: str,
    gauges: list[Gauge],
    *,
    extremes_first: bool,
) -> str:
    condition = where(focus, f"{slot} is not null")
    value = quoted(gauges[0].short)
    parts = [
        f"select {slot} as {quoted(heading)}, {literal(gauge.phrase)} "
        f'as "Series",\n       {gauge.counted} as {quoted(gauge.sample)}, '
        f"{gauge.expression} as {value}\n"
        f"from {source(table)}{condition}\ngroup by 1\nhaving {gauge.counted} > 0"
        for gauge in gauges
    ]
    union = "select * from (\n" + "\nunion all\n".join(parts) + "\n)\norder by "
    if not extremes_first:
        return f'{union}"Series", {quoted(heading)}\nlimit {POINTS_MAX}'
    return (
        f"{union}least(\n"
        f'  row_number() over (partition by "Series" order by {value} desc nulls last),\n'
        f'  row_number() over (partition by "Series" order by {value} nulls last)\n'
        f'), "Series", {value} desc\nlimit {POINTS_MAX}'
    )


def _open_end(last: datetime | None, grain: Grain) -> bool:
    """Whether the data stops before its last period does, which matters for totals."""
    if last is None:
        return False
    if grain == "year":
        return (last.month, last.day) < (12, 25) and (last.month, last.day) != (1, 1)
    return grain == "month" and 1 < last.day < 25


def recurring(table: Table, focus: Focus) -> list[Enquiry]:
    """By hour of the day, day of the week and month of the year, as far as the columns tell."""
    return [_when(table, focus, clockwork) for clockwork in clockworks(table)]


def clockworks(table: Table) -> list[Clockwork]:
    """The recurring cuts of time this table offers."""
    moment = table.calendar()
    stamped = next((held for held in table.of("moment") if held.has_clock), None)
    found = [_hours(table, stamped), _weekdays(table, moment), _months(table, moment)]
    return [clockwork for clockwork in found if clockwork is not None]


def _hours(table: Table, stamped: Field | None) -> Clockwork | None:
    hour = table.part("hour")
    clocks = sorted(table.of("clock"), key=lambda held: not _is_planned(held))
    clock = next(iter(clocks), None)
    if hour is not None:
        read = hour.expression
    elif clock is not None:
        read = f"({clock.expression}) % 24"
    elif stamped is not None:
        read = f"hour({stamped.expression})"
    else:
        return None
    return Clockwork("hour", f"printf('%02d:00', cast({read} as integer))", "Hour of day")


def _is_planned(held: Field) -> bool:
    """A planned time is the fairer clock: the actual one moves with what is being measured."""
    return bool({"sched", "scheduled", "planned", "plan"} & set(words_of(held.name)))


def _weekdays(table: Table, moment: Field | None) -> Clockwork | None:
    if moment is None or _days(moment) < 21 or (table.part("month") and not table.part("day")):
        return None
    if moment.distinct < max(15, min(0.1 * _days(moment), 1_000)):
        return None  # one date a month has no weekdays worth telling
    read = moment.expression
    return Clockwork("weekday", f"dayname({read})", "Weekday", order=f"isodow({read})")


def _months(table: Table, moment: Field | None) -> Clockwork | None:
    month = table.part("month")
    if month is not None:
        named = f"monthname(make_date(2000, {month.expression}, 1))"
        return Clockwork("month", named, "Month of year", order=month.expression)
    if moment is None or _days(moment) < 300 or moment.distinct < 8:
        return None
    read = moment.expression
    return Clockwork("month", f"monthname({read})", "Month of year", order=f"month({read})")


def _days(moment: Field) -> float:
    first, last = parse_moment(moment.low), parse_moment(moment.high)
    return 0.0 if first is None or last is None else (last - first).total_seconds() / 86_400


def _when(table: Table, focus: Focus, clockwork: Clockwork) -> Enquiry:
    gauge = gauge_for(focus.measure, focus)
    floor = 1 if gauge.adds_up else fewest_rows_ranked(table)
    select = Selection()
    slot = select.add(clockwork.expression, clockwork.heading)
    select.add(gauge.counted, gauge.sample)
    if not gauge.counts_rows:
        select.add(gauge.expression, gauge.heading)
    order = f"min({clockwork.order})" if clockwork.order else "1"
    sql = (
        f"select {select}\nfrom {source(table)}"
        f"{where(focus, f'{clockwork.order or clockwork.expression} is not null')}\n"
        f"group by 1\nhaving {gauge.counted} >= {floor}\norder by {order}"
    )
    return Enquiry(
        key=f"by-{clockwork.key}",
        heading=f"{capital(gauge.phrase)} by {clockwork.heading.lower()}",
        title=f"{capital(gauge.phrase)} by {clockwork.heading.lower()}",
        sql=sql,
        read=lambda result: tell_when(result, slot, gauge, floor),
    )


def groups_over_time(table: Table, focus: Focus) -> Enquiry | None:
    """The question's own: the groups with most rows, each along the clock or the calendar."""
    held = next((one for one in focus.dimensions if one.distinct <= 200), None)
    if held is None:
        return None
    clockwork = next(iter(clockworks(table)), None) if focus.wants_when else None
    moment = table.calendar()
    if clockwork is not None and clockwork.key == "hour":
        slot, heading = clockwork.expression, clockwork.heading
    elif moment is not None and moment.distinct > 2:
        grain = grain_of(moment)
        slot, heading = _truncated(moment, grain), capital(grain)
    else:
        return None
    return _cross(table, focus, held, slot, heading)


def _cross(table: Table, focus: Focus, held: Field, slot: str, heading: str) -> Enquiry:
    gauge = gauge_for(focus.measure, focus)
    floor = 1 if gauge.adds_up else max(1, fewest_rows_ranked(table) // 5)
    group = f"cast({held.expression} as varchar)"
    select = Selection()
    moment = table.calendar()
    slots = (
        24.0 if heading == "Hour of day" or moment is None else _points(moment, grain_of(moment))
    )
    series = select.add(group, capital(held.label))
    period = select.add(slot, heading)
    select.add(gauge.counted, gauge.sample)
    if not gauge.counts_rows:
        select.add(gauge.expression, gauge.heading)
    busiest = (
        f"{group} in (\n    select {group} from {source(table)}"
        f"{where(focus, f'{held.expression} is not null', indent=4)}\n"
        f"    group by 1 order by count(*) desc, 1 limit {SERIES_MAX})"
    )
    sql = (
        f"select {select}\nfrom {source(table)}"
        f"{where(focus, busiest, f'{slot} is not null')}\n"
        f"group by 1, 2\nhaving {gauge.counted} >= {floor}"
    )
    outer = min(SERIES_MAX, held.distinct) * slots > TABLE_ROWS_MAX
    order = f"{quoted(series)}, {quoted(period)}"
    sql = _ordered(sql, order, gauge.heading, extremes_first=outer)
    return Enquiry(
        key="groups-over-time",
        heading=f"{capital(gauge.phrase)} by {held.label} and {heading.lower()}",
        title=f"{capital(gauge.phrase)} of the {held.label}s with most rows, by {heading.lower()}"
        if held.distinct > SERIES_MAX
        else f"{capital(gauge.phrase)} by {held.label} and {heading.lower()}",
        sql=sql,
        read=lambda result: tell_cross(result, series, period, gauge, held.label, floor),
    )

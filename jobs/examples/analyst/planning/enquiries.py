"""The questions put to the table, as SQL, each with the words and the chart its answer becomes.

An `Enquiry` is a query plus what to make of its result; it sees no data but what came back.
All rounding happens in SQL, so that every figure said in a sentence stands, digit for digit, in a
table of the report, and running the shown query again gives the same digits.
"""

# ruff: noqa: S608 - identifiers are quoted and texts escaped by `wording`; the SQL runs confined
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.examples.analyst.planning.columns import Field, Kind, Table
from jobs.examples.analyst.planning.gauges import (
    Gauge,
    Selection,
    fewest_rows_ranked,
    gauge_for,
    median_of,
    share_above_zero,
    source,
    where,
)
from jobs.examples.analyst.planning.question import Focus
from jobs.examples.analyst.planning.sentences import (
    GROUPS_MAX,
    Answer,
    Frame,
    tell_columns,
    tell_distribution,
    tell_drivers,
    tell_groups,
    tell_overall,
    tell_relation,
)
from jobs.examples.analyst.shapes import QueryResult
from jobs.examples.analyst.wording import TABLE_ROWS_MAX, capital, literal, quoted

GLANCE_COLUMNS_MAX = TABLE_ROWS_MAX
DRIVERS_MAX = 6
MEASURES_OVERALL_MAX = 4
_KIND_SAID: dict[Kind, str] = {
    "measure": "measure",
    "rate": "yes or no",
    "dimension": "groups",
    "moment": "date",
    "part": "part of a date",
    "clock": "clock time",
    "coordinate": "coordinate",
    "label": "label or text",
    "constant": "one value or none",
}


@dataclass(frozen=True)
class Enquiry:
    """One query to run and how to read its answer."""

    key: str
    heading: str
    title: str
    sql: str
    read: Callable[[QueryResult], Answer]
    simpler: str | None = None


def overall(table: Table, focus: Focus) -> Enquiry | None:
    """One row per measure: how many values, their middle, their ends."""
    measures = [held for held in focus.measures if held.kind == "measure"][:MEASURES_OVERALL_MAX]
    if not measures:
        return None
    signed = any(held.takes_both_signs for held in measures)
    rows = [_overall_row(table, focus, held, signed=signed) for held in measures]
    return Enquiry(
        key="overall",
        heading=f"{capital(measures[0].label)} as a whole",
        title="The measures as a whole",
        sql="\nunion all\n".join(rows),
        read=lambda result: tell_overall(result, measures),
        simpler=rows[0],
    )


def _overall_row(table: Table, focus: Focus, held: Field, *, signed: bool) -> str:
    read, places = held.expression, held.decimals
    above = share_above_zero(held).expression if held.takes_both_signs else "null"
    last = f',\n       {above} as "Above 0 (%)"\n' if signed else "\n"
    label = capital(held.label) + (f" ({held.unit})" if held.unit else "")
    return (
        f'select {literal(label)} as "Measure",\n'
        f'       count(*) as "Rows",\n'
        f'       count({read}) as "Values",\n'
        f'       round(avg({read}), {places}) as "Mean",\n'
        f'       round(median({read}), {places}) as "Median",\n'
        f'       round(quantile_cont({read}, 0.9), {places}) as "90th percentile",\n'
        f'       min({read}) as "Smallest",\n'
        f'       max({read}) as "Largest"{last}'
        f"from {source(table)}{where(focus)}"
    )


def by_group(table: Table, focus: Focus, held: Field) -> Enquiry:
    """The measure per value of one column, ranked; groups too small to compare are left out."""
    gauge = gauge_for(focus.measure, focus)
    select = Selection()
    group = select.add(_as_text(held), capital(held.label))
    count = select.add(gauge.counted, gauge.sample)
    figure, extras = _figures(select, gauge, focus)
    counted_all = gauge.counted == "count(*)"
    floor = 1 if gauge.adds_up or counted_all else fewest_rows_ranked(table)
    if gauge.adds_up:
        whole = f"sum({_unrounded(gauge)}) over ()"
        share = select.add(
            f"round(100.0 * {_unrounded(gauge)} / nullif({whole}, 0), 1)", "Share of all (%)"
        )
        extras = {**extras, "share": share}
    direction = "asc" if focus.smallest_first else "desc"
    sql = (
        f"select {select}\nfrom {source(table)}{where(focus)}\ngroup by 1\n"
        f"having count({held.expression}) > 0 and {gauge.counted} >= {floor}\n"
        f"order by {select.position(figure)} {direction} nulls last, 1\nlimit {GROUPS_MAX}"
    )
    frame = Frame(held.label, group, figure, count, gauge, extras, floor, held.distinct)
    return Enquiry(
        key=f"by-{_slot(table, held)}",
        heading=f"{capital(gauge.phrase)} by {held.label}",
        title=f"{capital(gauge.phrase)} by {held.label}",
        sql=sql,
        read=lambda result: tell_groups(result, frame, focus.smallest_first),
        simpler=_simple_groups(table, focus, held, gauge, group, count, figure),
    )


def _figures(select: Selection, gauge: Gauge, focus: Focus) -> tuple[str, dict[str, str]]:
    """Select the gauge and what is good to know beside it: median, share above zero."""
    measure = focus.measure
    if gauge.counts_rows:
        return "Rows", {}
    figure = select.add(gauge.expression, gauge.heading)
    extras: dict[str, str] = {}
    if measure is None or measure.kind != "measure" or gauge.phrase.startswith("total"):
        return figure, extras
    if gauge.phrase.startswith("mean"):
        middle = median_of(measure)
        extras["median"] = select.add(middle.expression, middle.heading)
    if measure.takes_both_signs:
        above = share_above_zero(measure)
        extras["above"] = select.add(above.expression, above.heading)
    for other in focus.measures[1:2]:
        if focus.named_measures > 1 and other.kind == "measure":
            also = gauge_for(other, focus)
            extras["also"] = select.add(also.expression, also.heading)
    return figure, extras


def _simple_groups(
    table: Table, focus: Focus, held: Field, gauge: Gauge, group: str, count: str, figure: str
) -> str:
    shown = "" if figure == count else f",\n       {gauge.expression} as {quoted(figure)}"
    return (
        f"select {_as_text(held)} as {quoted(group)},\n"
        f"       {gauge.counted} as {quoted(count)}{shown}\n"
        f"from {source(table)}{where(focus)}\ngroup by 1\norder by 2 desc, 1\nlimit {GROUPS_MAX}"
    )


def distribution(table: Table, focus: Focus) -> Enquiry | None:
    """How many rows fall in each band of the measure, without the outermost 2% of a long tail."""
    measure = next((held for held in focus.measures if held.kind == "measure"), None)
    if measure is None or measure.distinct < 10:
        return None
    least = "1" if measure.whole else "0"
    heading = capital(measure.label) + (f" ({measure.unit})" if measure.unit else "")
    sql = f"""with held as (
  select cast({measure.expression} as double) as v from {source(table)}{where(focus, indent=2)}
), ends as (
  select min(v) as lo, max(v) as hi,
         quantile_cont(v, 0.01) as lo99, quantile_cont(v, 0.99) as hi99
  from held
), span as (
  select if(hi - lo > 2.5 * (hi99 - lo99) and hi99 > lo99, lo99, lo) as a,
         if(hi - lo > 2.5 * (hi99 - lo99) and hi99 > lo99, hi99, hi) as b
  from ends
), raw as (
  select a, b, (b - a) / 20 as r, pow(10, floor(log10((b - a) / 20))) as power from span where b > a
), band as (
  select a, b, greatest({least}, power * case
    when r <= 1.5 * power then 1 when r <= 3.5 * power then 2 when r <= 7.5 * power then 5 else 10
  end) as step
  from raw
)
select round(floor(v / step) * step, 9) as "From",
       round(floor(v / step) * step + step, 9) as "To below",
       count(*) as "Rows",
       round(100.0 * count(*) / (select count(v) from held), 1) as "Share of values (%)"
from held, band
where v >= floor(a / step) * step and v < floor(b / step) * step + step
group by 1, 2
order by 1"""
    return Enquiry(
        key="distribution",
        heading=f"How {measure.label} is spread",
        title=f"Rows per band of {measure.label} (a long tail is cut at 1% on either side)",
        sql=sql,
        read=lambda result: tell_distribution(result, measure, heading),
    )


def relation(table: Table, focus: Focus) -> Enquiry | None:
    """How one named measure moves with another: its mean per tenth of the rows, by the other."""
    if focus.relates is None:
        return None
    cause, outcome = focus.relates
    places, steps = outcome.decimals, cause.decimals
    unit = f" ({outcome.unit})" if outcome.unit else ""
    start = f"{capital(cause.label)} from" + (f" ({cause.unit})" if cause.unit else "")
    both = (f"{cause.expression} is not null", f"{outcome.expression} is not null")
    sql = f"""with pairs as (
  select {cause.expression} as x, {outcome.expression} as y
  from {source(table)}{where(focus, *both, indent=2)}
), tenths as (
  select x, y, ntile({10 if table.rows >= 100 else 4}) over (order by x) as tenth from pairs
)
select round(min(x), {steps}) as {quoted(start)},
       round(max(x), {steps}) as "To",
       count(*) as "Rows",
       round(avg(y), {places}) as {quoted(f"Mean {outcome.label}{unit}")},
       (select round(corr(x, y), 3) from pairs) as "Correlation of all rows"
from tenths
group by tenth
order by tenth"""
    return Enquiry(
        key="relation",
        heading=f"{capital(cause.label)} and {outcome.label}",
        title=f"Mean {outcome.label} per band of {cause.label}",
        sql=sql,
        read=lambda result: tell_relation(result, cause, outcome, start),
    )


def drivers(table: Table, focus: Focus) -> Enquiry | None:
    """Which columns the measure goes along with: how much of its variation each accounts for."""
    measure = focus.measure
    if measure is None or measure.kind != "measure" or table.rows < 20:
        return None
    own = measure.expression
    groups = [
        held
        for held in table.of("dimension", "rate", "part")
        if 2 <= held.distinct <= min(60, table.rows // 5)
    ][:DRIVERS_MAX]
    others = [held for held in table.of("measure") if held != measure][:DRIVERS_MAX]
    parts = [_explained_by_groups(table, focus, own, held) for held in groups]
    parts += [_explained_by_number(table, focus, own, held) for held in others]
    if len(parts) < 2:
        return None
    return Enquiry(
        key="drivers",
        heading=f"What {measure.label} goes along with",
        title=f"Share of the variation in {measure.label} that each column accounts for alone",
        sql="select * from (\n"
        + "\nunion all\n".join(parts)
        + "\n)\norder by 2 desc nulls last, 1",
        read=lambda result: tell_drivers(result, measure),
    )


def _explained_by_groups(table: Table, focus: Focus, own: str, held: Field) -> str:
    """Between-group sum of squares over the total: eta squared."""
    inside = where(focus, f"{own} is not null", f"{held.expression} is not null", indent=12)
    return f"""select {literal(capital(held.label))} as "Column",
       round(100 * sum(n * pow(mu - middle, 2))
         / nullif(sum(n * (spread + pow(mu - middle, 2))), 0), 1) as "Variation accounted for (%)",
       cast(sum(n) as bigint) as "Rows"
from (select *, sum(n * mu) over () / sum(n) over () as middle
      from (select avg({own}) as mu, var_pop({own}) as spread, count(*) as n
            from {source(table)}{inside}
            group by {held.expression}))"""


def _explained_by_number(table: Table, focus: Focus, own: str, held: Field) -> str:
    """The squared correlation."""
    both = where(focus, f"{own} is not null", f"{held.expression} is not null")
    return f"""select {literal(capital(held.label))} as "Column",
       round(100 * pow(corr({held.expression}, {own}), 2), 1) as "Variation accounted for (%)",
       count(*) as "Rows"
from {source(table)}{both}"""


def glance(table: Table) -> Enquiry:
    """What is in the table: each column's type, gaps and distinct values."""
    shown = table.fields[:GLANCE_COLUMNS_MAX]
    parts = [
        f'select {literal(held.name)} as "Column", {literal(_KIND_SAID[held.kind])} as "Read as",\n'
        f'       count(*) as "Rows", count({quoted(held.name)}) as "Filled",\n'
        f'       count(*) - count({quoted(held.name)}) as "Empty",\n'
        f'       count(distinct {quoted(held.name)}) as "Distinct"\nfrom {source(table)}'
        for held in shown
    ]
    return Enquiry(
        key="columns",
        heading="What the table holds",
        title="Columns, gaps and distinct values",
        sql="\nunion all\n".join(parts) or f'select count(*) as "Rows" from {source(table)}',
        read=tell_columns,
        simpler=f'select count(*) as "Rows" from {source(table)}',
    )


def _as_text(held: Field) -> str:
    return f"coalesce(cast({held.expression} as varchar), '(empty)')"


def _unrounded(gauge: Gauge) -> str:
    """The bare sum or count inside a gauge that adds up."""
    if gauge.expression.startswith("round("):
        return gauge.expression[len("round(") : gauge.expression.rindex(",")]
    return gauge.expression


def _slot(table: Table, held: Field) -> str:
    """A short stable name for a column: its place in the table."""
    return f"column-{table.fields.index(held) + 1}" if held in table.fields else "calendar"

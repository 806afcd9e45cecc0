"""Findings in words: sentences made from query results, quoting their figures digit for digit.

Nothing is computed here. A figure that is not in a result is not said; what cannot be compared
(too few groups, no spread) is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.examples.analyst.planning.columns import Field
from jobs.examples.analyst.planning.gauges import Gauge
from jobs.examples.analyst.shapes import QueryResult
from jobs.examples.analyst.wording import (
    TABLE_ROWS_MAX,
    as_decimal,
    capital,
    exact,
    plain,
    with_unit,
)

GROUPS_MAX = 50
VALUE_CHARS_MAX = 40


@dataclass(frozen=True)
class Drawing:
    """A chart worth drawing from a result; the fields are draw_chart's arguments."""

    kind: Literal["bar", "line", "histogram"]
    x: str
    y: str
    title: str
    note: str = ""
    unit: str | None = None
    series: str | None = None


@dataclass(frozen=True)
class Shown:
    """A cell worth showing as a key figure."""

    label: str
    column: str
    row: int = 0
    unit: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a result says: sentences (the first one carries the finding), a chart, key figures."""

    sentences: list[str] = field(default_factory=list)
    drawing: Drawing | None = None
    figures: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """Which output column of a grouped query is what."""

    label: str
    group: str
    figure: str
    count: str
    gauge: Gauge
    extras: dict[str, str]
    fewest: int
    distinct: int

    def name(self, cells: Cells, row: int) -> str:
        """A group by its name; a bare number gets the column's name before it."""
        value = value_of(cells.get(row, self.group))
        return f"{self.label} {value}" if value.replace(".", "").isdigit() else value


class Cells:
    """A result's cells by row number and column name."""

    def __init__(self, result: QueryResult) -> None:
        self.rows = result.rows
        self._at = {name: at for at, name in enumerate(result.columns)}

    def get(self, row: int, column: str) -> Any:
        """The cell, None when there is no such row or column."""
        at = self._at.get(column)
        if at is None or not -len(self.rows) <= row < len(self.rows):
            return None
        return self.rows[row][at]

    def has(self, column: str) -> bool:
        """Whether the result has this column."""
        return column in self._at

    def lowest(self, ranked: Sequence[int], column: str) -> int:
        """The row with the smallest number; of several, the one that stands first."""
        least = self.get(ranked[-1], column)
        return min(at for at in ranked if self.get(at, column) == least)

    def ranked(self, column: str) -> list[int]:
        """Row numbers with a number in `column`, the largest first; ties keep their order."""
        numbered = [
            (number, at)
            for at in range(len(self.rows))
            if (number := as_decimal(self.get(at, column))) is not None and number.is_finite()
        ]
        return [at for _, at in sorted(numbered, key=lambda pair: (-pair[0], pair[1]))]


def value_of(cell: Any) -> str:
    """A group's name as it is said in a sentence."""
    return plain(cell, VALUE_CHARS_MAX) or "(blank)"


def rows_said(count: Any) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{exact(count)} row" + ("" if count == 1 else "s")


def sample_said(gauge: Gauge, count: Any) -> str:
    """The sample behind a figure: `682 values`, or rows where it counts those."""
    noun = gauge.sample.lower()
    return f"{exact(count)} {noun.removesuffix('s') if count == 1 else noun}"


def tell_groups(result: QueryResult, frame: Frame, smallest_first: bool) -> Answer:
    """Who leads, who trails, and how many rows stand behind it."""
    cells = Cells(result)
    ranked = cells.ranked(frame.figure)
    if smallest_first:
        ranked.reverse()
    if not ranked:
        return Answer([f"No {frame.label} has enough rows to compare."])
    is_all = len(result.rows) == result.row_count < GROUPS_MAX
    drawing = _groups_drawing(frame, cells, ranked, smallest_first, is_all=is_all)
    if len(ranked) == 1:
        only = frame.name(cells, ranked[0])
        said = frame.gauge.said(cells.get(ranked[0], frame.figure))
        return Answer([f"Only {only} has enough rows: its {frame.gauge.phrase} is {said}."])
    sentences = [_lead(frame, cells, ranked, smallest_first, is_all=is_all)]
    sentences += _beside(frame, cells, ranked)
    if not is_all:
        sentences.append("Only the top of a longer ranking was asked for.")
    if frame.fewest > 1 and result.row_count < frame.distinct:
        sentences.append(f"Groups with fewer than {frame.fewest:,} values are left out.")
    return Answer(sentences, drawing)


def _lead(
    frame: Frame, cells: Cells, ranked: Sequence[int], smallest_first: bool, *, is_all: bool
) -> str:
    gauge = frame.gauge

    def said(at: int) -> str:
        figure = gauge.said(cells.get(at, frame.figure))
        sample = sample_said(gauge, cells.get(at, frame.count))
        return figure if gauge.counts_rows else f"{figure} over {sample}"

    first, last = ranked[0], ranked[-1]
    top, bottom = cells.get(first, frame.figure), cells.get(last, frame.figure)
    if top == bottom:
        return f"{capital(gauge.phrase)} is the same for every {frame.label}: {said(first)}."
    most, least = ("lowest", "highest") if smallest_first else ("highest", "lowest")
    names = [frame.name(cells, at) for at in (first, last)]
    share = ""
    if "share" in frame.extras and not smallest_first:
        share = f", {exact(cells.get(first, frame.extras['share']))}% of all"
    leader = f"By {frame.label}, {names[0]} has the {most} {gauge.phrase} ({said(first)}{share})"
    return f"{leader} and {names[1]} the {least} ({said(last)})." if is_all else f"{leader}."


def _beside(frame: Frame, cells: Cells, ranked: Sequence[int]) -> list[str]:
    """The runners-up, and what the other columns of the table add."""
    sentences = []
    if len(ranked) >= 5:
        second, third = ranked[1], ranked[2]
        told = [
            f"{frame.name(cells, at)} ({frame.gauge.said(cells.get(at, frame.figure))})"
            for at in (second, third)
        ]
        sentences.append(f"Next come {told[0]} and {told[1]}.")
    for extra in ("above", "also") if len(cells.rows) <= TABLE_ROWS_MAX else ():
        name = frame.extras.get(extra)
        order = cells.ranked(name) if name else []
        if name and len(order) > 1:
            top = order[0]
            unit = "%" if extra == "above" else frame.gauge.unit
            heading = name.removesuffix(" (%)") if extra == "above" else name
            sentences.append(
                f"“{plain(heading)}” is highest for {frame.name(cells, top)}: "
                f"{with_unit(exact(cells.get(top, name)), unit)}."
            )
    return sentences


def _groups_drawing(
    frame: Frame, cells: Cells, ranked: Sequence[int], smallest_first: bool, *, is_all: bool
) -> Drawing | None:
    if len(ranked) < 2:
        return None
    first, last = (frame.name(cells, at) for at in (ranked[0], ranked[-1]))
    most = "lowest" if smallest_first else "highest"
    title = f"{first} has the {most} {frame.gauge.phrase}"
    if cells.get(ranked[0], frame.figure) == cells.get(ranked[-1], frame.figure):
        title = f"{capital(frame.gauge.phrase)} is the same for every {frame.label}"
    elif is_all and not frame.gauge.adds_up:
        title += f", {last} the {'highest' if smallest_first else 'lowest'}"
    fewest = f", groups of at least {frame.fewest:,} values" if frame.fewest > 1 else ""
    note = f"{capital(frame.gauge.phrase)} by {frame.label}{fewest}"
    return Drawing("bar", frame.group, frame.figure, title, note, frame.gauge.unit)


def tell_overall(result: QueryResult, measures: Sequence[Field]) -> Answer:
    """The middle and the ends of each measure."""
    cells, sentences = Cells(result), []
    for at, held in enumerate(measures[: len(result.rows)]):
        if cells.get(at, "Mean") is None:
            continue
        unit = held.unit
        figures = {
            name: with_unit(exact(cells.get(at, name)), unit)
            for name in ("Mean", "Median", "Smallest", "Largest")
        }
        sentences.append(
            f"{capital(held.label)} averages {figures['Mean']} "
            f"over {exact(cells.get(at, 'Values'))} values (median {figures['Median']}), "
            f"from {figures['Smallest']} to {figures['Largest']}."
        )
    figures_shown = [Shown("Rows", "Rows")]
    if cells.get(0, "Mean") is not None:
        label, unit = measures[0].label, measures[0].unit
        figures_shown += [
            Shown(f"Mean {label}", "Mean", 0, unit),
            Shown(f"Median {label}", "Median", 0, unit),
            Shown("9 in 10 at or below", "90th percentile", 0, unit),
        ]
        if cells.get(0, "Above 0 (%)") is not None:
            figures_shown[3] = Shown(f"Rows with {label} above 0", "Above 0 (%)", 0, "%")
    return Answer(sentences, None, figures_shown)


def tell_distribution(result: QueryResult, measure: Field, heading: str) -> Answer:
    """The fullest band."""
    cells = Cells(result)
    ranked = cells.ranked("Rows")
    if len(ranked) < 3:
        return Answer([])
    fullest = ranked[0]
    band = f"{exact(cells.get(fullest, 'From'))} to below {exact(cells.get(fullest, 'To below'))}"
    sentence = (
        f"The fullest band of {measure.label} is {with_unit(band, measure.unit)}: "
        f"{rows_said(cells.get(fullest, 'Rows'))}, "
        f"{exact(cells.get(fullest, 'Share of values (%)'))}% of the values."
    )
    title = f"Most common {measure.label}: {with_unit(band, measure.unit)}"
    drawing = Drawing(
        "histogram", "From", "Rows", title, f"Rows per band of {heading}", measure.unit
    )
    return Answer([sentence], drawing)


def tell_relation(result: QueryResult, cause: Field, outcome: Field, start: str) -> Answer:
    """Whether two measures move together, and how tightly."""
    cells = Cells(result)
    tightness = as_decimal(cells.get(0, "Correlation of all rows"))
    mean = next((name for name in result.columns if name.startswith("Mean ")), "")
    if tightness is None or not tightness.is_finite() or len(result.rows) < 2:
        return Answer([f"{capital(cause.label)} and {outcome.label} cannot be related: no spread."])
    how = _tightness(float(abs(tightness)))
    way = "higher" if tightness > 0 else "lower"
    said = exact(cells.get(0, "Correlation of all rows"))
    first, last = (with_unit(exact(cells.get(at, mean)), outcome.unit) for at in (0, -1))
    if how is None:
        sentence = f"{capital(cause.label)} and {outcome.label} hardly move together (r = {said})."
        title = f"{capital(cause.label)} and {outcome.label} hardly move together"
    else:
        sentence = (
            f"Rows with higher {cause.label} have {way} {outcome.label}: "
            f"a {how} correlation (r = {said})."
        )
        title = f"Higher {cause.label} goes with {way} {outcome.label}"
    ends = f"From the lowest to the highest band, mean {outcome.label} goes from {first} to {last}."
    caution = "Moving together does not show that one causes the other."
    drawing = Drawing("line", start, mean, title, f"{mean} by {cause.label}", outcome.unit)
    return Answer([sentence, ends, caution], drawing)


def _tightness(size: float) -> str | None:
    steps = ((0.7, "strong"), (0.4, "moderate"), (0.1, "weak"))
    return next((word for least, word in steps if size >= least), None)


def tell_drivers(result: QueryResult, measure: Field) -> Answer:
    """Which columns account for most of the variation, one at a time."""
    cells, share = Cells(result), "Variation accounted for (%)"
    ranked = cells.ranked(share)
    if len(ranked) < 2:
        return Answer([])
    told = [
        f"{value_of(cells.get(at, 'Column')).lower()} ({exact(cells.get(at, share))}%)"
        for at in ranked[:3]
    ]
    sentence = f"Taken alone, most of the variation in {measure.label} goes along with {told[0]}"
    sentence += f", then {' and '.join(told[1:])}." if len(told) > 1 else "."
    caution = "This shows what goes together, not what causes what."
    top = value_of(cells.get(ranked[0], "Column"))
    drawing = Drawing(
        "bar",
        "Column",
        share,
        f"{top} says most about {measure.label}",
        f"Share of the variation in {measure.label} each column accounts for alone",
        "%",
    )
    return Answer([sentence, caution], drawing)


def tell_columns(result: QueryResult) -> Answer:
    """Size and gaps."""
    cells = Cells(result)
    rows = cells.get(0, "Rows")
    if not rows:
        return Answer(["The table has no rows."], None, [Shown("Rows", "Rows")])
    sentences = [f"The table has {rows_said(rows)}."]
    gaps = cells.ranked("Empty")
    if gaps and cells.get(gaps[0], "Empty"):
        name = value_of(cells.get(gaps[0], "Column"))
        sentences.append(
            f"The column with most gaps is {name}: {exact(cells.get(gaps[0], 'Empty'))} "
            f"of {exact(rows)} rows are empty."
        )
    elif gaps:
        sentences.append("No column has gaps.")
    return Answer(sentences, None, [Shown("Rows", "Rows")])

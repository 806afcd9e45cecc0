"""Findings about time in words: peaks, troughs, beginnings and ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from jobs.examples.analyst.planning.gauges import Gauge
from jobs.examples.analyst.planning.sentences import (
    Answer,
    Cells,
    Drawing,
    sample_said,
    value_of,
)
from jobs.examples.analyst.shapes import QueryResult
from jobs.examples.analyst.wording import TABLE_ROWS_MAX, capital


def period_said(cell: Any, grain: str) -> str:
    """A period as a person says it: `July 2013`, `the week of 1 July 2013`, `2013`."""
    text = f"{cell}-01" if grain == "month" and len(str(cell)) == len("2013-07") else str(cell)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return value_of(cell)
    day = f"{moment.day} {moment:%B %Y}"
    forms = {
        "year": f"{moment.year}",
        "month": f"{moment:%B %Y}",
        "week": f"the week of {day}",
        "day": day,
        "hour": f"{day}, {moment:%H:%M}",
    }
    return forms.get(grain, day)


def tell_series(
    result: QueryResult,
    slot: str,
    gauges: Sequence[Gauge],
    grain: str,
    *,
    single: bool,
    open_end: bool,
) -> Answer:
    """The peak and the trough of each line, and how its last point compares with its first."""
    gauge, several = gauges[0], len(gauges) > 1 and "Series" in result.columns
    figure = gauge.short if several else gauge.heading
    if figure not in result.columns:
        figure = "Rows"
    cells = Cells(result)
    whole = len(result.rows) >= result.row_count <= TABLE_ROWS_MAX
    single = single and _one_value_each(cells, gauge)
    peaks, sentences = [], []
    for each in gauges if several else gauges[:1]:
        rows = cells.ranked(figure)
        if several:
            rows = [at for at in rows if cells.get(at, "Series") == each.phrase]
        phrase = each.bare if single else each.phrase
        if figure == "Rows":
            phrase = "number of rows"
        course = _course(cells, rows, slot, figure, phrase, each, grain, whole=whole)
        peaks += [sentence.removesuffix(".") for sentence in course[:1]]
        sentences += course[1:]
    if peaks:
        others = [sentence[:1].lower() + sentence[1:] for sentence in peaks[1:]]
        sentences.insert(0, "; ".join([peaks[0], *others]) + ".")
    if open_end and gauge.adds_up:
        sentences.append(
            f"The data ends before the last {grain} does, so that one is not complete."
        )
    line = _line(cells, slot, figure, gauge, grain, several=several, single=single)
    return Answer(sentences, line)


def _one_value_each(cells: Cells, gauge: Gauge) -> bool:
    """Whether every period holds one value, so that `mean` would be a big word for it."""
    return all(cells.get(at, gauge.sample) == 1 for at in range(len(cells.rows)))


def _course(
    cells: Cells,
    rows: list[int],
    slot: str,
    figure: str,
    phrase: str,
    gauge: Gauge,
    grain: str,
    *,
    whole: bool,
) -> list[str]:
    if len(rows) < 2:
        return []
    top, low = rows[0], cells.lowest(rows, figure)
    in_time = sorted(rows, key=lambda at: str(cells.get(at, slot)))
    first, last = in_time[0], in_time[-1]
    if cells.get(top, figure) == cells.get(low, figure):
        return [f"{capital(phrase)} is the same in every {grain}."]

    def said(at: int) -> str:
        return gauge.said(cells.get(at, figure))

    def when(at: int) -> str:
        return period_said(cells.get(at, slot), grain)

    peak = f"{capital(phrase)} was highest in {when(top)} ({said(top)})"
    sentences = [f"{peak} and lowest in {when(low)} ({said(low)})."]
    if whole and {first, last} != {top, low}:
        sentences.append(
            f"{capital(phrase)} began at {said(first)} in {when(first)} "
            f"and ended at {said(last)} in {when(last)}."
        )
    return sentences


def _line(
    cells: Cells, slot: str, figure: str, gauge: Gauge, grain: str, *, several: bool, single: bool
) -> Drawing | None:
    ranked = cells.ranked(figure)
    if len(ranked) < 3:
        return None
    peak = period_said(cells.get(ranked[0], slot), grain)
    what = gauge.bare if single else gauge.phrase
    if several and not single:
        what = value_of(cells.get(ranked[0], "Series"))
    elif several:
        what = value_of(cells.get(ranked[0], "Series")).partition(" ")[2]
    title = f"{capital(what)} peaked in {peak}"
    note = f"By {grain}" if several else f"{capital(gauge.phrase)} by {grain}"
    series = "Series" if several else None
    return Drawing("line", slot, figure, title, note, gauge.unit, series)


def tell_when(result: QueryResult, slot: str, gauge: Gauge, fewest: int) -> Answer:
    """The highest and the lowest hour, weekday or month."""
    figure = gauge.heading if gauge.heading in result.columns else "Rows"
    cells = Cells(result)
    ranked = cells.ranked(figure)
    if len(ranked) < 2:
        return Answer([])
    top, low = ranked[0], cells.lowest(ranked, figure)
    names = [value_of(cells.get(at, slot)) for at in (top, low)]
    told = [
        gauge.said(cells.get(at, figure))
        + ("" if gauge.counts_rows else f" over {sample_said(gauge, cells.get(at, gauge.sample))}")
        for at in (top, low)
    ]
    by = slot.lower()
    if cells.get(top, figure) == cells.get(low, figure):
        return Answer([f"{capital(gauge.phrase)} is the same for every {by}: {told[0]}."])
    sentence = (
        f"By {by}, {gauge.phrase} is highest at {names[0]} ({told[0]}) "
        f"and lowest at {names[1]} ({told[1]})."
    )
    if "hour" not in by:
        sentence = sentence.replace(" at ", " in " if "month" in by else " on ")
    title = f"{capital(gauge.phrase)} is highest {_preposition(by)} {names[0]}"
    fewest_said = f", of at least {fewest:,} values each" if fewest > 1 else ""
    drawing = Drawing(
        "bar", slot, figure, title, f"{capital(gauge.phrase)} by {by}{fewest_said}", gauge.unit
    )
    return Answer([sentence], drawing)


def _preposition(by: str) -> str:
    return "at" if "hour" in by else "in" if "month" in by else "on"


def tell_cross(
    result: QueryResult, series: str, period: str, gauge: Gauge, label: str, fewest: int
) -> Answer:
    """The highest and the lowest corner of the grid."""
    figure = gauge.heading if gauge.heading in result.columns else "Rows"
    cells = Cells(result)
    ranked = cells.ranked(figure)
    if len(ranked) < 3:
        return Answer([])
    drawing = Drawing(
        "line",
        period,
        figure,
        f"{capital(gauge.phrase)} by {label} and {period.lower()}",
        "The groups with most rows"
        + (f"; points of at least {fewest:,} values" if fewest > 1 else ""),
        gauge.unit,
        series,
    )
    told = [
        f"{value_of(cells.get(at, series))}, {_slot_said(cells.get(at, period), period)} "
        f"({gauge.said(cells.get(at, figure))})"
        for at in (ranked[0], cells.lowest(ranked, figure))
    ]
    highest = f"Among the groups with most rows, the highest {gauge.phrase} is {told[0]}"
    return Answer([f"{highest}; the lowest is {told[1]}."], drawing)


def _slot_said(cell: Any, period: str) -> str:
    return period_said(cell, period.lower()) if isinstance(cell, str | date) else value_of(cell)

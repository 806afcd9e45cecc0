"""Lines over time or an ordered number: named at their ends, their peak marked, few ticks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jobs.examples.analyst.marks import (
    ACCENT,
    FAINT,
    INK,
    LINES,
    SOFT,
    NothingToDraw,
    Picture,
    Point,
    clipped,
    decimals_of,
    figure_text,
    number_axis,
)
from jobs.examples.analyst.wording import as_decimal, is_year_name, plain

TICKS_MAX = 9
LINES_MAX = 6


def draw_lines(axes: Axes, points: list[Point], picture: Picture) -> None:
    """Draw up to `LINES_MAX` lines; the ones with most points are kept."""
    places, kind = _placed(points)
    by_line: dict[str, list[tuple[float, float]]] = {}
    for point, place in zip(points, places, strict=True):
        if place is not None:
            by_line.setdefault(point.line, []).append((place, point.number))
    kept = sorted(by_line, key=lambda name: -len(by_line[name]))[:LINES_MAX]
    if not kept:
        raise NothingToDraw(f"column {plain(picture.x)!r} holds no times or numbers")
    lines = {name: sorted(by_line[name]) for name in by_line if name in kept}
    for at, line in enumerate(lines.values()):
        _draw_line(axes, line, LINES[at] if len(lines) > 1 else ACCENT)
    _scale(axes, lines)
    if len(lines) > 1:
        _name_ends(axes, lines)
    else:
        _mark_peak(axes, next(iter(lines.values())))
    number_axis(axes.yaxis)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.tick_params(axis="both", length=0, pad=5)
    _time_axis(axes, points, kind, picture.x)
    axes.set_ylabel(plain(picture.y))
    axes.set_xlabel("" if kind == "date" else plain(picture.x))


def _draw_line(axes: Axes, line: list[tuple[float, float]], colour: str) -> None:
    marker = "o" if len(line) <= 31 else None
    axes.plot(
        [place for place, _ in line],
        [number for _, number in line],
        color=colour,
        linewidth=1.6,
        marker=marker,
        markersize=2.6,
        solid_joinstyle="round",
        clip_on=False,
    )


def _placed(points: list[Point]) -> tuple[list[float | None], str]:
    """Where each point stands: as a date, as a number, or in the order of its label."""
    moments = [_moment(point.place) for point in points]
    if all(moment is not None for moment in moments):
        return [dates.date2num(moment) for moment in moments], "date"
    numbers = [as_decimal(point.place) for point in points]
    if all(number is not None for number in numbers):
        return [float(number) for number in numbers if number is not None], "number"
    names = list(dict.fromkeys(str(point.place) for point in points))
    ordered = sorted(names) if all(":" in name for name in names) else names
    return [float(ordered.index(str(point.place))) for point in points], "name"


def _moment(place: Any) -> datetime | None:
    if not isinstance(place, str) or len(place) < len("2013-07"):
        return None
    try:
        return datetime.fromisoformat(f"{place}-01" if len(place) == len("2013-07") else place)
    except ValueError:
        return None


def _scale(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> None:
    """From zero where the figures come near it, else around them."""
    numbers = [number for line in lines.values() for _, number in line]
    low, high = min(numbers), max(numbers)
    bottom = 0.0 if 0 <= low < 0.5 * high else low
    span = (high - bottom) or abs(high) or 1.0
    axes.set_ylim(bottom if bottom == 0 else bottom - 0.08 * span, high + 0.12 * span)
    if low < 0 < high:
        axes.axhline(0, color=SOFT, linewidth=0.7)
    places = [place for line in lines.values() for place, _ in line]
    first, last = min(places), max(places)
    room = (last - first) or 1.0
    axes.set_xlim(first - 0.01 * room, last + 0.01 * room)


def _mark_peak(axes: Axes, line: list[tuple[float, float]]) -> None:
    place, number = max(line, key=lambda each: each[1])
    first, last = line[0][0], line[-1][0]
    share = (place - first) / ((last - first) or 1.0)
    axes.plot([place], [number], marker="o", markersize=5, color=ACCENT, clip_on=False)
    axes.annotate(
        figure_text(number, decimals_of([each for _, each in line])),
        (place, number),
        xytext=(0, 6),
        textcoords="offset points",
        ha="left" if share < 0.05 else "right" if share > 0.95 else "center",
        color=INK,
        fontsize=8,
        fontweight="bold",
    )


def _name_ends(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> None:
    """Each line's name beside its last point, moved apart where two would meet."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.062
    ends = sorted((line[-1][1], at, name) for at, (name, line) in enumerate(lines.items()))
    heights: list[float] = []
    for number, _, _ in ends:
        heights.append(max(number, heights[-1] + gap) if heights else number)
    excess = max(0.0, heights[-1] - high)
    right = axes.get_xlim()[1]
    for (_, at, name), height in zip(ends, heights, strict=True):
        axes.annotate(
            clipped(name, 22),
            (right, height - excess),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            color=LINES[at],
            fontsize=7.5,
            fontweight="bold",
            annotation_clip=False,
        )


def _time_axis(axes: Axes, points: list[Point], kind: str, axis_name: str) -> None:
    if kind == "date":
        locator = dates.AutoDateLocator(minticks=4, maxticks=TICKS_MAX)
        axes.xaxis.set_major_locator(locator)
        formatter = dates.ConciseDateFormatter(locator, show_offset=False)
        formatter.zero_formats[1] = "%Y"
        axes.xaxis.set_major_formatter(formatter)
    elif kind == "number":
        number_axis(axes.xaxis)
        if is_year_name(axis_name):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=TICKS_MAX, integer=True))
            axes.xaxis.set_major_formatter(lambda number, _: f"{number:.10g}")
    else:
        names = list(dict.fromkeys(str(point.place) for point in points))
        ordered = sorted(names) if all(":" in name for name in names) else names
        every = max(1, -(-len(ordered) // 13))
        ticks = list(range(0, len(ordered), every))
        axes.set_xticks(ticks, labels=[clipped(ordered[at], 12) for at in ticks])

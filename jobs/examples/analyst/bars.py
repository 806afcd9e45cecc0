"""Bars, columns and bands: groups compared, slots in their order, rows counted per band."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from matplotlib.axes import Axes

from jobs.examples.analyst.marks import (
    ACCENT,
    CALM,
    FAINT,
    INK,
    PAPER,
    SOFT,
    NothingToDraw,
    Picture,
    Point,
    clipped,
    decimals_of,
    figure_text,
    number_axis,
)
from jobs.examples.analyst.wording import as_decimal, plain

BARS_MAX = 20

_NAMED_SLOT = re.compile(
    r"(mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august|"
    r"september|october|november|december",
    re.IGNORECASE,
)
_NUMBERED_SLOT = re.compile(r"\d{1,2}:\d\d|\d{4}(-\d\d){0,2}")


def stands_upright(points: list[Point]) -> bool:
    """Columns for a few short names and for slots in their own order; bars for everything else."""
    if is_slots(points):
        return len(points) <= 31
    longest = max(len(plain(point.place)) for point in points)
    return len(points) <= 6 and longest <= 12


def is_slots(points: list[Point]) -> bool:
    return all(
        isinstance(point.place, int | float)
        or _NAMED_SLOT.fullmatch(str(point.place))
        or _NUMBERED_SLOT.fullmatch(str(point.place))
        for point in points
    )


def draw_bars(axes: Axes, points: list[Point], picture: Picture) -> None:
    """Lying bars, ranked as the query ranked them, the figure at each end."""
    shown = _ranked(points)[:BARS_MAX]
    numbers = [point.number for point in shown]
    places = range(len(shown))
    colours = [ACCENT if at == 0 else CALM for at in places]
    axes.barh(list(places), numbers, color=colours, height=0.68)
    axes.invert_yaxis()
    axes.set_ylim(len(shown) - 0.45, -0.55)
    names = [clipped(point.place) for point in shown]
    axes.set_yticks(list(places), labels=names)
    axes.tick_params(axis="y", length=0, pad=6)
    decimals = decimals_of(numbers)
    for at, number in zip(places, numbers, strict=True):
        axes.annotate(
            figure_text(number, decimals),
            (number, at),
            xytext=(4 if number >= 0 else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if number >= 0 else "right",
            color=INK,
            fontsize=7.5,
            fontweight="bold" if at == 0 else "normal",
        )
    _pad_for_labels(axes, numbers)
    axes.set_xticks([])
    axes.axvline(0, color=SOFT, linewidth=0.7)
    left_out = len(points) - len(shown)
    more = f" (the first {len(shown)} of {len(points):,})" if left_out else ""
    axes.set_xlabel(plain(picture.y) + more)


def _ranked(points: list[Point]) -> list[Point]:
    """As the query ordered them when it did order them, else the largest first."""
    numbers = [point.number for point in points]
    if numbers == sorted(numbers) or numbers == sorted(numbers, reverse=True):
        return points
    return sorted(points, key=lambda point: -point.number)


def _pad_for_labels(axes: Axes, numbers: list[float]) -> None:
    low, high = min(0.0, *numbers, 0.0), max(0.0, *numbers, 0.0)
    span = (high - low) or 1.0
    left, right = low - (0.13 * span if low < 0 else 0), high + (0.13 * span if high > 0 else 0)
    axes.set_xlim(left, right if right > left else left + 1)


def draw_columns(axes: Axes, points: list[Point], picture: Picture) -> None:
    """Standing columns in the order of the query, the figure on each while there is room."""
    shown = points if is_slots(points) else _ranked(points)
    numbers = [point.number for point in shown]
    peak = numbers.index(max(numbers))
    colours = [ACCENT if at == peak else CALM for at in range(len(shown))]
    axes.bar(range(len(shown)), numbers, color=colours, width=0.72 if len(shown) > 3 else 0.5)
    axes.axhline(0, color=SOFT, linewidth=0.7)
    every = max(1, math.ceil(len(shown) / 12))
    names = [clipped(point.place, 12) if at % every == 0 else "" for at, point in enumerate(shown)]
    if len(shown) > 5 and all(_NAMED_SLOT.fullmatch(str(point.place)) for point in shown):
        names = [name[:3] for name in names]
    axes.set_xticks(range(len(shown)), labels=names)
    axes.tick_params(axis="x", length=0, pad=5)
    decimals = decimals_of(numbers)
    if len(shown) <= 24:
        for at, number in enumerate(numbers):
            axes.annotate(
                figure_text(number, decimals),
                (at, number),
                xytext=(0, 3 if number >= 0 else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if number >= 0 else "top",
                color=INK,
                fontsize=7.5 if len(shown) <= 12 else 5.6,
                fontweight="bold" if at == peak else "normal",
            )
    low, high = min(0.0, *numbers, 0.0), max(0.0, *numbers, 0.0)
    span = (high - low) or 1.0
    axes.set_ylim(low - (0.1 * span if low < 0 else 0), high + 0.1 * span)
    if len(shown) <= 24:
        axes.set_yticks([])
    else:
        number_axis(axes.yaxis)
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
    if len(shown) <= 2:
        axes.set_xlim(-0.9, len(shown) - 0.1)
    axes.set_ylabel(plain(picture.y))
    axes.set_xlabel(plain(picture.x))


def draw_bands(axes: Axes, points: list[Point], picture: Picture) -> None:
    """A histogram of bands that were counted in SQL; the band's width is their smallest step."""
    placed = sorted(
        ((float(place), point.number) for point in points
         if (place := as_decimal(point.place)) is not None),
    )  # fmt: skip
    if not placed:
        raise NothingToDraw(f"column {plain(picture.x)!r} holds no numbers")
    lefts = [left for left, _ in placed]
    steps = [b - a for a, b in pairwise(lefts) if b > a]
    step = min(steps) if steps else 1.0
    heights = [height for _, height in placed]
    peak = max(heights)
    colours = [ACCENT if height == peak else CALM for height in heights]
    axes.bar(
        lefts, heights, width=step, align="edge", color=colours, edgecolor=PAPER, linewidth=0.8
    )
    axes.set_xlim(lefts[0] - step * 0.3, lefts[-1] + step * 1.3)
    axes.set_ylim(0, peak * 1.08)
    axes.tick_params(axis="both", length=0, pad=5)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.axhline(0, color=SOFT, linewidth=0.7)
    number_axis(axes.yaxis)
    number_axis(axes.xaxis)
    axes.set_ylabel(plain(picture.y))
    named = picture.note.removeprefix("Rows per band of ") or picture.x
    axes.set_xlabel(plain(named if picture.note.startswith("Rows per band of ") else picture.x))

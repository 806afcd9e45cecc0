"""What all charts share: their words and colours, and how numbers and names are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from jobs.examples.analyst.wording import plain, rounded

LABEL_CHARS_MAX = 30

INK, SOFT, FAINT, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
ACCENT, CALM = "#1d6fa5", "#9db8cc"
LINES = ("#1d6fa5", "#d9822b", "#3f8f5b", "#a4508b", "#7b6d4f", "#c14953")


class NothingToDraw(Exception):
    """The result holds no numbers where the picture needs them."""


@dataclass(frozen=True)
class Picture:
    """What to draw: which columns, and the words around them."""

    kind: str
    x: str
    y: str
    title: str
    note: str = ""
    unit: str | None = None
    series: str | None = None


@dataclass(frozen=True)
class Point:
    """One mark: its place as written and its number."""

    place: Any
    number: float
    line: str = ""


def number_axis(axis: Any) -> None:
    """Few ticks, thousands grouped, no scientific notation."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda number, _: tick_text(number)))


def tick_text(number: float) -> str:
    """A tick's number: 12,000; 1.5M; 0.25."""
    for size, sign in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(number) >= size:
            return f"{number / size:,.4g}{sign}"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.10g}" if abs(number) > 1e-9 else "0"


def decimals_of(numbers: list[float]) -> int:
    """How many decimals the labels of one chart show: what they have, less where they are large."""
    largest = max(abs(number) for number in numbers)
    has = max(len(repr(number).partition(".")[2].rstrip("0")) for number in numbers)
    allowed = 0 if largest >= 1000 else 1 if largest >= 100 else 2
    if 0 < largest < 1:
        allowed = min(8, 2 - math.floor(math.log10(largest)))
    return min(has, allowed)


def figure_text(number: float, decimals: int) -> str:
    for size, sign in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(number) >= size:
            return f"{rounded(number / size, 2)}{sign}"
    text = rounded(number, decimals)
    return f"{number:.2g}" if number and not text.strip("-0.") else text


def clipped(place: Any, chars: int = LABEL_CHARS_MAX) -> str:
    if isinstance(place, float) and place == int(place):
        place = int(place)
    name = plain("(empty)" if place is None else place, 400) or "(blank)"
    if len(name) <= chars:
        return name
    # Long names often differ at their end, so both ends are kept.
    tail = chars // 3
    return f"{name[: chars - tail - 1].rstrip()}…{name[-tail:].lstrip()}"

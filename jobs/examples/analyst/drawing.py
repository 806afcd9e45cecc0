"""Draw one picture of a result with matplotlib: quiet axes, a telling title, exact labels.

Everything is set on the figure at hand: no pyplot and no shared settings, so any number of threads
may draw at once. Text from the data is shown as it is; a dollar sign starts no formula. Pictures
are 1200 pixels wide, for 600 on the page.
"""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from jobs.examples.analyst.bars import (
    BARS_MAX,
    draw_bands,
    draw_bars,
    draw_columns,
    stands_upright,
)
from jobs.examples.analyst.lines import draw_lines
from jobs.examples.analyst.marks import INK, PAPER, SOFT, NothingToDraw, Picture, Point
from jobs.examples.analyst.shapes import QueryResult
from jobs.examples.analyst.wording import as_decimal, plain

WIDTH_IN, HEIGHT_IN, DPI = 6.0, 3.5, 200
BAR_HEIGHT_IN = 0.215
MARGIN_PX = 36

_PREFERRED = ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans")
_FALLBACKS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Hiragino Sans",
    "WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Emoji", "Symbola",
)  # fmt: skip


def draw_png(result: QueryResult, picture: Picture) -> bytes:
    """The picture as PNG bytes; raises `NothingToDraw`."""
    # A sign that no installed font has is drawn as a box; that is all there is to say about it. The
    # filter is set anew, as others may reset it, and is the same for every thread.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")
    points = _points(result, picture)
    if not points:
        raise NothingToDraw(f"column {plain(picture.y)!r} holds no numbers")
    figure = Figure(figsize=(WIDTH_IN, _height_in(picture, points)), dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    if picture.kind == "line":
        draw_lines(axes, points, picture)
    elif picture.kind == "histogram":
        draw_bands(axes, points, picture)
    elif stands_upright(points):
        draw_columns(axes, points, picture)
    else:
        draw_bars(axes, points, picture)
    _frame(figure, axes, canvas, picture)
    out = io.BytesIO()
    canvas.print_png(out, metadata={"Title": picture.title, "Software": "Stepwell"})
    return out.getvalue()


def _points(result: QueryResult, picture: Picture) -> list[Point]:
    at = {name: position for position, name in enumerate(result.columns)}
    points = []
    for row in result.rows:
        number = as_decimal(row[at[picture.y]])
        if number is None or not number.is_finite():
            continue
        line = plain(row[at[picture.series]], 24) if picture.series else ""
        points.append(Point(row[at[picture.x]], float(number), line))
    return points


def _height_in(picture: Picture, points: list[Point]) -> float:
    """Bars take the height they need; everything else is 7:12."""
    if picture.kind != "bar" or stands_upright(points):
        return HEIGHT_IN
    return max(1.9, 1.35 + BAR_HEIGHT_IN * min(len(points), BARS_MAX))


def _frame(figure: Figure, axes: Axes, canvas: FigureCanvasAgg, picture: Picture) -> None:
    """Place title, note and axes by what the text really measures."""
    width, height = figure.get_size_inches() * DPI
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=SOFT, labelsize=7.5, labelfontfamily=families())
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=SOFT, fontsize=7.5)
    title = figure.text(MARGIN_PX / width, 1 - MARGIN_PX / height, "", va="top", color=INK)
    title.set(fontsize=11, fontweight="bold", linespacing=1.15)
    title.set_fontfamily(families())
    room = width - 2 * MARGIN_PX
    title.set_text(_wrapped(title, picture.title, room, canvas))
    used = MARGIN_PX + _size(title, canvas)[1]
    if picture.note:
        note = figure.text(MARGIN_PX / width, 1 - (used + 12) / height, "", va="top", color=SOFT)
        note.set(fontsize=8)
        note.set_fontfamily(families())
        note.set_text(_wrapped(note, picture.note, room, canvas, lines=1))
        used += 12 + _size(note, canvas)[1]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(families())
    axes.set_position((0.2, 0.2, 0.6, 0.6))
    _fit(axes, canvas, used + 30, width, height)


def _fit(axes: Axes, canvas: FigureCanvasAgg, top_px: float, width: float, height: float) -> None:
    """Let the axes fill what its labels leave of the figure, measured twice as ticks may change."""
    for _ in range(2):
        renderer = canvas.get_renderer()
        inner = axes.get_window_extent(renderer)
        outer = axes.get_tightbbox(renderer)
        if outer is None:
            return
        left = MARGIN_PX + max(0.0, inner.x0 - outer.x0)
        bottom = MARGIN_PX * 0.7 + max(0.0, inner.y0 - outer.y0)
        right = width - MARGIN_PX - max(0.0, outer.x1 - inner.x1)
        top = height - top_px - max(0.0, outer.y1 - inner.y1)
        axes.set_position(
            (
                left / width,
                bottom / height,
                max(0.2, (right - left) / width),
                max(0.2, (top - bottom) / height),
            )
        )


def _size(text: Text, canvas: FigureCanvasAgg) -> tuple[float, float]:
    text.set_parse_math(False)
    extent = text.get_window_extent(canvas.get_renderer())
    return extent.width, extent.height


def _wrapped(
    holder: Text, text: str, room_px: float, canvas: FigureCanvasAgg, lines: int = 2
) -> str:
    """The text broken at spaces into lines that fit, cut with an ellipsis where they do not."""

    def fits(candidate: str) -> bool:
        holder.set_text(candidate)
        return _size(holder, canvas)[0] <= room_px

    done: list[str] = []
    rest = plain(text, 400)
    while rest and len(done) < lines:
        line = rest
        while len(line) > 1 and not fits(line):
            shorter = line.rpartition(" ")[0]
            is_last = len(done) == lines - 1
            line = shorter if shorter and not is_last else line[:-1]
        rest = rest[len(line) :].lstrip()
        done.append(line)
    if rest and done:
        last = done[-1]
        while len(last) > 1 and not fits(last + "…"):
            last = last[:-1]
        done[-1] = last.rstrip(" ,;:") + "…"
    return "\n".join(done)


@lru_cache(maxsize=1)
def families() -> list[str]:
    """The installed fonts to use, the plainest first, then those with more signs."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    first = next((name for name in _PREFERRED if name in installed), "DejaVu Sans")
    return list(dict.fromkeys([first, *(name for name in _FALLBACKS if name in installed)]))

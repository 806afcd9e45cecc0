from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from jobs.agent.tool import ToolFailed
from jobs.examples.analyst.bars import stands_upright
from jobs.examples.analyst.charts import draw_chart
from jobs.examples.analyst.drawing import draw_png
from jobs.examples.analyst.marks import Picture, Point, decimals_of, figure_text, tick_text
from jobs.examples.analyst.shapes import QueryResult


def result_of(columns: list[str], rows: list[list[Any]]) -> QueryResult:
    return QueryResult(
        query="q1",
        title="A result",
        sql="select",
        columns=columns,
        types=["VARCHAR"] * len(columns),
        rows=rows,
        row_count=len(rows),
        truncated=False,
    )


def picture_of(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


STRANGE = [
    "plain",
    "a $x^2$ b $",
    r"$\frac{1}{2}$ and \$5",
    "$unclosed",
    r"$\frac{1}{$ is no formula",
    "<b>bold</b> & <script>alert(1)</script>",
    "日本語のとても長いラベルとても長いラベルとても長いラベル",
    "🎉 party 🎊",
    "مرحبا بالعالم",
    "line\nbreak\ttab",
    "_under ^score {curly} %s %(x)s",
    "W" * 300,
    "",
    None,
    "nul\x00bell\x07",
]


def cases() -> dict[str, tuple[QueryResult, Picture]]:
    names = [f"Département de la Très Longue Désignation n° {at}" for at in range(45)]
    months = [f"{2010 + at // 12}-{1 + at % 12:02d}-01" for at in range(120)]
    hours = [f"{at:02d}:00" for at in range(24)]
    lines = [[m, s, i * k] for k, s in enumerate("abcdefgh", 1) for i, m in enumerate(months)]
    title = "Wages in the north-east grew faster than anywhere else, and twice as fast in winter"
    return {
        "many long bars": (
            result_of(["Name", "Sales (USD)"], [[n, 1e6 / (i + 1)] for i, n in enumerate(names)]),
            Picture("bar", "Name", "Sales (USD)", title, "Total sales by département", "USD"),
        ),
        "both signs": (
            result_of(["g", "v"], [[f"group {at}", 12.5 - 4 * at] for at in range(9)]),
            Picture("bar", "g", "v", "Gains and losses", "Change by group"),
        ),
        "strange names": (
            result_of(["g", "$y$"], [[name, i + 1] for i, name in enumerate(STRANGE)]),
            Picture("bar", "g", "$y$", r"A $title$ with \frac{1}{2} <b>html</b>", "$note$ 日本"),
        ),
        "two columns": (
            result_of(["sex", "n"], [["female", 165], ["male", 168]]),
            Picture("bar", "sex", "n", "About as many of either", "Rows by sex"),
        ),
        "hours": (
            result_of(["h", "v"], [[hour, (i * 7) % 23 - 3] for i, hour in enumerate(hours)]),
            Picture("bar", "h", "v", "Busiest at 13:00", "Mean per hour"),
        ),
        "ten years": (
            result_of(["m", "v"], [[m, 100 + (i * 13) % 37] for i, m in enumerate(months)]),
            Picture("line", "m", "v", "Peaked in 2017", "By month", "%"),
        ),
        "eight lines": (
            result_of(["m", "s", "v"], lines),
            Picture("line", "m", "v", "Too many lines", "By month", series="s"),
        ),
        "a few hours": (
            result_of(["t", "v"], [[f"2024-03-01T{h:02d}:00:00", h * h] for h in range(24)]),
            Picture("line", "t", "v", "Grew all day", "By hour"),
        ),
        "years as numbers": (
            result_of(["year", "v"], [[year, year % 7] for year in range(1950, 2020)]),
            Picture("line", "year", "v", "Seven years up, then down", "By year"),
        ),
        "bands": (
            result_of(["From", "Rows"], [[at * 5 - 20, 40_000 // (1 + at)] for at in range(30)]),
            Picture("histogram", "From", "Rows", "Most are early", "Rows per band of delay (min)"),
        ),
        "one bar": (
            result_of(["g", "v"], [["only", 1]]),
            Picture("bar", "g", "v", "Only one", ""),
        ),
        "one point": (
            result_of(["d", "v"], [["2024-01-01", 5.5]]),
            Picture("line", "d", "v", "Only one", ""),
        ),
        "all zero": (
            result_of(["g", "v"], [[name, 0] for name in "abcdefgh"]),
            Picture("bar", "g", "v", "Nothing at all", ""),
        ),
        "huge and tiny": (
            result_of(["g", "v"], [["big", 1.5e15], ["small", 1e-9], ["none", None]]),
            Picture("bar", "g", "v", "Sizes", ""),
        ),
    }


@pytest.mark.parametrize("name", cases())
def test_every_kind_of_chart_is_drawn_for_mail_at_double_size(name: str) -> None:
    result, picture = cases()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = picture_of(draw_png(result, picture))
    assert image.width == 1200
    assert 380 <= image.height <= 1200
    assert len(image.getcolors(1 << 24) or []) > 20
    edges = [image.getpixel((x, y)) for x in (2, 1197) for y in range(0, image.height, 7)]
    assert set(edges) == {(255, 255, 255)}, "something runs over the edge"


def test_threads_draw_at_once_what_one_draws_alone() -> None:
    chosen = [cases()[name] for name in ("hours", "ten years", "bands", "strange names")]
    alone = [draw_png(*case) for case in chosen]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda case: draw_png(*case), chosen * 2))
    assert together == alone * 2


def test_importing_the_agent_loads_none_of_the_heavy_libraries() -> None:
    heavy = "duckdb", "matplotlib", "numpy", "jinja2", "aiosmtplib", "pandas"
    code = (
        "import sys, jobs.examples.analyst\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_ranked_groups_lie_and_slots_of_time_stand() -> None:
    assert not stands_upright([Point(name, 1.0) for name in ("United Airlines", "Delta")])
    assert not stands_upright([Point(name, 1.0) for name in "abcdefgh"])
    assert stands_upright([Point(f"{hour:02d}:00", 1.0) for hour in range(24)])
    assert stands_upright([Point(day, 1.0) for day in ("Monday", "Tuesday")])


def test_figures_on_charts_are_rounded_correctly() -> None:
    assert figure_text(2.675, 2) == "2.68"
    assert figure_text(-0.5, 0) == "-1"
    assert figure_text(1234.5, 0) == "1,235"
    assert figure_text(12_345_678, 0) == "12.35M"
    assert decimals_of([3.14159, 2.0]) == 2
    assert decimals_of([1.0, 2.0]) == 0
    assert decimals_of([0.00123]) == 5
    assert tick_text(12_000) == "12,000"
    assert tick_text(0.25) == "0.25"


def test_the_tool_keeps_the_picture_with_its_words(desk: Any) -> None:
    query = desk.keep_result(3, ["Carrier", "Mean delay (min)"], [["AA", 4.5], ["UA", 2.25]])
    drawn = draw_chart(
        desk.context(seq=5),
        query,
        "bar",
        "Carrier",
        "Mean delay (min)",
        "AA is later",
        "By carrier",
    )
    assert drawn.chart == "c5"
    assert "Mean delay (min) by Carrier" in drawn.alt
    assert picture_of(desk.shelf.load(drawn.artifact)).width == 1200
    assert json.loads(desk.shelf.read("c5.json"))["query"] == "q3"


@pytest.mark.parametrize(
    ("query", "x", "y", "says"),
    [
        ("q3", "Carrier", "delay", "q3 has no column 'delay'; its columns are 'Carrier', 'Mean'"),
        ("q9", "Carrier", "Mean", "no query 'q9'"),
        ("../etc", "Carrier", "Mean", "no query '../etc'"),
        ("q3", "Mean", "Carrier", "cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_told_to_the_model(
    desk: Any, query: str, x: str, y: str, says: str
) -> None:
    desk.keep_result(3, ["Carrier", "Mean"], [["AA", 4.5], ["UA", 2.25]])
    with pytest.raises(ToolFailed, match=says.replace("(", "\\(")):
        draw_chart(desk.context(), query, "bar", x, y, "A title")

"""The tool that draws one chart of one query result, as a PNG made for mail."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import ValidationError

from jobs.agent.tool import ToolContext, ToolFailed, tool
from jobs.examples.analyst.shapes import Chart, QueryResult
from jobs.examples.analyst.wording import plain
from jobs.policy.rules import ALLOW

TITLE_CHARS_MAX = 160
NOTE_CHARS_MAX = 200


# It writes into the artifacts of its own job and nowhere else, whatever the arguments are.
@tool(
    effect="write",
    idempotency="safe",
    work="computes",
    timeout_s=60,
    policy=ALLOW,
    trusted=False,
    under_taint="allow",
)
def draw_chart(
    ctx: ToolContext,
    query: str,
    kind: Literal["bar", "line", "histogram"],
    x: str,
    y: str,
    title: str,
    note: str = "",
    unit: str | None = None,
    series: str | None = None,
) -> Chart:
    """Draw one chart of a query result; returns its id for write_report.

    Args:
        query: The id of the query result to draw, such as "q3".
        kind: bar compares groups, line follows time or an ordered number, histogram shows how many
            rows fall in each band (x the lower end of the band, y the rows).
        x: The result column with the groups, the times or the lower ends of bands.
        y: The result column with the numbers.
        title: What the chart shows, as a short statement: "Fares peaked in July".
        note: One line under the title: what is measured, over which rows.
        unit: The unit of y ("min", "USD", "%"), if the data says so.
        series: For a line chart, the result column that tells the lines apart.
    """
    result = load_result(ctx, query)
    for name in filter(None, (x, y, series)):
        if name not in result.columns:
            known = ", ".join(repr(plain(column)) for column in result.columns)
            raise ToolFailed(f"{query} has no column {plain(name)!r}; its columns are {known}.")
    # Drawing loads matplotlib, which only a worker that draws should pay for.
    from jobs.examples.analyst.drawing import draw_png
    from jobs.examples.analyst.marks import NothingToDraw, Picture

    picture = Picture(
        kind=kind,
        x=x,
        y=y,
        title=plain(title, TITLE_CHARS_MAX),
        note=plain(note, NOTE_CHARS_MAX),
        unit=plain(unit, 20) if unit else None,
        series=series,
    )
    try:
        png = draw_png(result, picture)
    except NothingToDraw as error:
        raise ToolFailed(f"{query} cannot be drawn: {error}.") from None
    chart = f"c{ctx.seq}"
    alt = (
        f"{plain(title, TITLE_CHARS_MAX)} ({kind} chart of {plain(y)} by {plain(x)}, from {query})"
    )
    saved = ctx.artifacts.save(f"{chart}.png", "image/png", png)
    drawn = Chart(
        chart=chart, artifact=saved.id, title=plain(title, TITLE_CHARS_MAX), query=query, alt=alt
    )
    ctx.artifacts.save(f"{chart}.json", "application/json", drawn.model_dump_json().encode())
    return drawn


def load_result(ctx: ToolContext, query: str) -> QueryResult:
    """The whole result of one of this job's queries; raises `ToolFailed` where there is none."""
    return QueryResult.model_validate(_load_json(ctx, query, "query", "run_sql"))


def load_chart(ctx: ToolContext, chart: str) -> Chart:
    """What draw_chart told of one of this job's charts; raises `ToolFailed` where there is none."""
    try:
        return Chart.model_validate(_load_json(ctx, chart, "chart", "draw_chart"))
    except ValidationError:
        raise ToolFailed(f"{plain(chart)!r} is not a chart of this job.") from None


def _load_json(ctx: ToolContext, name: str, what: str, made_by: str) -> Any:
    """A small JSON artifact of this job by the id the model uses for it."""
    known = name[:1] in ("q", "c") and name[1:].isdigit()
    found = ctx.artifacts.find(f"{name}.json") if known else None
    if found is None:
        raise ToolFailed(
            f"This job has no {what} {plain(name)!r}. Use an id that {made_by} returned."
        )
    return json.loads(ctx.artifacts.load(found.id))

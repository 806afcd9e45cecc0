"""The tool that writes the report: headline, key figures, sections, and where figures come from.

Everything a report says is gathered once, as `Contents`. From it are made: `report.html`, one file
for any browser with its pictures inside; and later the mail, as a page with its pictures attached
(mail programs show no data: URIs) and as plain text. Jinja2 escapes everything that comes from data
or from a model.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, Field

from jobs.agent.tool import ToolContext, ToolFailed, tool
from jobs.examples.analyst.charts import load_chart, load_result
from jobs.examples.analyst.grounds import ground_report
from jobs.examples.analyst.shapes import Chart, QueryResult, Report, TableProfile
from jobs.examples.analyst.wording import (
    EMPTY,
    TABLE_ROWS_MAX,
    as_decimal,
    exact,
    is_year_name,
    plain,
    with_unit,
)
from jobs.policy.rules import ALLOW

if TYPE_CHECKING:
    from jinja2 import Environment

SECTIONS_MAX = 24
HEAD_ROWS, TAIL_ROWS = 9, 3
DECIMALS_ALIGNED_MAX = 4
TABLE_COLUMNS_MAX = 9
CELL_CHARS_MAX = 60
SUBJECT_CHARS_MAX = 120


class KeyFigure(BaseModel):
    """One large figure at the top; it is read from the named cell, never retyped."""

    label: str = Field(description="What the figure is, in two to five words.")
    query: str = Field(description="The id of the query result it stands in, such as q3.")
    column: str = Field(description="The result column.")
    row: int = Field(default=0, ge=0, description="The row, counted from 0.")
    unit: str | None = Field(default=None, description="The unit, if the data says so.")


class Section(BaseModel):
    """One part of the report: what was found, the chart, and the numbers behind it."""

    heading: str = Field(description="A short heading.")
    text: str = Field(description="What the numbers say, in plain sentences.")
    query: str = Field(description="The id of the query result the section rests on, such as q3.")
    chart: str | None = Field(default=None, description="The id of a chart, such as c5.")


class ShownFigure(BaseModel):
    """A key figure as read."""

    label: str
    shown: str
    query: str


class ShownSection(BaseModel):
    """A section with everything it shows."""

    heading: str
    paragraphs: list[str]
    query: str
    chart: Chart | None
    columns: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    gap_after: int | None
    row_count: int


class ShownQuery(BaseModel):
    """A query as the appendix shows it."""

    query: str
    title: str
    sql: str
    row_count: int
    truncated: bool


class Contents(BaseModel):
    """Everything a report says, before it takes the form of a page, a mail or a text."""

    title: str
    headline: str
    summary: list[str]
    figures: list[ShownFigure]
    sections: list[ShownSection]
    queries: list[ShownQuery]
    notes: list[str]
    source: str
    # How many figures its sentences state, and those of them that no query result has.
    figures_said: int = 0
    figures_missing: list[str] = []
    confidence: float | None = None


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
def write_report(
    ctx: ToolContext,
    title: str,
    headline: str,
    summary: list[str],
    sections: list[Section],
    figures: list[KeyFigure] | None = None,
    notes: list[str] | None = None,
) -> Report:
    """Write the report as HTML; returns its id for send_email and the final answer.

    Args:
        title: What the report is about, in a few words.
        headline: The answer to the question, in one sentence.
        summary: Up to six further findings, one sentence each.
        sections: The parts of the report, the most telling first; each rests on one query result.
        figures: Up to four key figures, each naming the cell of a query result it is read from.
        notes: What the reader should know about the data or how the question was understood.
    """
    if not sections:
        raise ToolFailed("A report needs at least one section with a query result.")
    contents = compose(ctx, title, headline, summary, sections, figures or [], notes or [])
    charts = [section.chart for section in contents.sections if section.chart]
    page = render_html(contents, lambda chart: _as_data_uri(ctx, chart), in_mail=False)
    saved = ctx.artifacts.save("report.html", "text/html; charset=utf-8", page.encode())
    kept = contents.model_dump_json().encode()
    ctx.artifacts.save(contents_name(saved.id), "application/json", kept)
    return Report(
        artifact=saved.id,
        title=contents.title,
        subject=plain(contents.title, SUBJECT_CHARS_MAX),
        charts=[chart.chart for chart in charts],
        queries=[query.query for query in contents.queries],
        confidence=contents.confidence,
    )


def compose(
    ctx: ToolContext,
    title: str,
    headline: str,
    summary: list[str],
    sections: list[Section],
    figures: list[KeyFigure],
    notes: list[str],
) -> Contents:
    """Gather what the report shows; raises `ToolFailed` for an id that this job does not have."""
    asked = [figure.query for figure in figures] + [section.query for section in sections]
    results = {query: load_result(ctx, query) for query in dict.fromkeys(asked)}
    in_order = dict.fromkeys([section.query for section in sections] + asked)
    shown = [_shown_section(ctx, section, results[section.query]) for section in sections]
    source, known = _data_notes(ctx)
    said = [title, headline, *summary, *(part for s in sections for part in (s.heading, s.text))]
    grounded = ground_report(ctx, [*said, *notes])
    return Contents(
        title=plain(title, 200),
        headline=plain(headline, 600),
        summary=[plain(sentence, 600) for sentence in summary],
        figures=[_shown_figure(figure, results[figure.query]) for figure in figures[:6]],
        sections=shown[:SECTIONS_MAX],
        queries=[_shown_query(query, results[query]) for query in in_order],
        notes=[plain(note, 600) for note in [*notes, *known]],
        source=source,
        figures_said=grounded.numbers,
        figures_missing=[plain(figure) for figure in grounded.missing],
        confidence=grounded.share,
    )


def _shown_section(ctx: ToolContext, section: Section, result: QueryResult) -> ShownSection:
    kept = list(range(len(result.columns)))[:TABLE_COLUMNS_MAX]
    rows, gap_after = _rows_to_show(result)
    columns = [_column_text([row[at] for row in rows], result.columns[at]) for at in kept]
    parts = re.split(r"\n\s*\n", section.text)
    return ShownSection(
        heading=plain(section.heading, 160),
        paragraphs=[plain(part, 4_000) for part in parts if part.strip()],
        query=section.query,
        chart=load_chart(ctx, section.chart) if section.chart else None,
        columns=[plain(result.columns[at]) for at in kept],
        numeric=[_is_numeric(result, at) for at in kept],
        rows=[list(row) for row in zip(*columns, strict=True)],
        gap_after=gap_after,
        row_count=result.row_count,
    )


def _rows_to_show(result: QueryResult) -> tuple[list[list[Any]], int | None]:
    """All rows of a short table; the head of a long one, and the tail of a ranking."""
    if len(result.rows) <= TABLE_ROWS_MAX:
        return result.rows, None
    if not any(_is_sorted([row[at] for row in result.rows]) for at in range(len(result.columns))):
        return result.rows[: HEAD_ROWS + TAIL_ROWS], HEAD_ROWS + TAIL_ROWS
    return [*result.rows[:HEAD_ROWS], *result.rows[-TAIL_ROWS:]], HEAD_ROWS


def _is_sorted(cells: list[Any]) -> bool:
    texts = [str(cell) for cell in cells]
    numbers = [as_decimal(cell) for cell in cells]
    if all(number is not None for number in numbers):
        ordered = sorted(number for number in numbers if number is not None)
        return numbers in (ordered, ordered[::-1])
    return texts in (sorted(texts), sorted(texts)[::-1])


def _column_text(cells: list[Any], column: str) -> list[str]:
    """A column's cells in full; where all are short decimals, as many places for each."""
    shown = [cell_text(cell, column) for cell in cells]
    if not any(isinstance(cell, float) for cell in cells):
        return shown
    places = [len(text.partition(".")[2]) for text in shown]
    most = max(places)
    if not 0 < most <= DECIMALS_ALIGNED_MAX or any("e" in text.lower() for text in shown):
        return shown
    return [
        f"{text}{'' if has else '.'}{'0' * (most - has)}" if isinstance(cell, int | float) else text
        for text, cell, has in zip(shown, cells, places, strict=True)
    ]


def _is_numeric(result: QueryResult, at: int) -> bool:
    cells = [row[at] for row in result.rows if row[at] is not None]
    return bool(cells) and all(isinstance(cell, int | float) for cell in cells)


def cell_text(cell: Any, column: str) -> str:
    """A table cell in full: every digit of a number, a timestamp at midnight as its day."""
    if cell is None:
        return EMPTY
    if isinstance(cell, str):
        return plain(re.sub(r"^(\d{4}-\d\d-\d\d)[T ]00:00:00(\.0+)?$", r"\1", cell), CELL_CHARS_MAX)
    return exact(cell, grouped=not is_year_name(column))


def _shown_figure(figure: KeyFigure, result: QueryResult) -> ShownFigure:
    if figure.column not in result.columns or figure.row >= len(result.rows):
        raise ToolFailed(
            f"The key figure {plain(figure.label)!r} names row {figure.row}, column "
            f"{plain(figure.column)!r} of {figure.query}, which has {len(result.rows)} rows and "
            f"the columns {', '.join(plain(name) for name in result.columns)}."
        )
    cell = result.rows[figure.row][result.columns.index(figure.column)]
    shown = with_unit(cell_text(cell, figure.column), figure.unit)
    return ShownFigure(label=plain(figure.label), shown=shown, query=figure.query)


def _shown_query(query: str, result: QueryResult) -> ShownQuery:
    return ShownQuery(
        query=query,
        title=plain(result.title, 200),
        sql=result.sql.strip(),
        row_count=result.row_count,
        truncated=result.truncated,
    )


def _data_notes(ctx: ToolContext) -> tuple[str, list[str]]:
    """What the profile said of the file, where this job has one."""
    found = ctx.artifacts.find("profile.json")
    if found is None:
        return "", []
    profile = TableProfile.model_validate_json(ctx.artifacts.load(found.id))
    columns = len(profile.columns) + profile.columns_left_out
    source = f"{plain(profile.file_name)} · {profile.rows:,} rows · {columns:,} columns"
    return source, [f"From the file: {note}" for note in profile.notes]


def contents_name(report: UUID) -> str:
    """The artifact that keeps a report's contents, by the report's id."""
    return f"report-{report}.json"


def load_contents(ctx: ToolContext, report: UUID) -> Contents:
    """The contents of a report of this job; raises `ToolFailed` where there is none."""
    found = ctx.artifacts.find(contents_name(report))
    if found is None:
        raise ToolFailed(f"This job has no report {report}. Use the id write_report returned.")
    return Contents.model_validate_json(ctx.artifacts.load(found.id))


def render_html(contents: Contents, image: Callable[[Chart], str], *, in_mail: bool) -> str:
    """The page; `image` gives the address of a chart's picture."""
    template = _environment().get_template("report.html.j2")
    return template.render(report=contents, image=image, in_mail=in_mail)


def render_text(contents: Contents) -> str:
    """The same as plain text, wrapped for reading in a terminal."""
    return _environment().get_template("report.txt.j2").render(report=contents)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("jobs.examples.analyst"),
        autoescape=select_autoescape(enabled_extensions=("html", "html.j2"), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["wrapped"] = _wrapped
    environment.filters["grounded"] = _grounded
    return environment


def _grounded(report: Contents) -> str:
    """How many of the figures in its sentences were found again, and which were not."""
    if not report.figures_said:
        return "Its sentences state no figures."
    share = f"{report.confidence or 0:.0%}"
    told = f"{share} of the {report.figures_said:,} figures in its sentences stand in a result"
    missing = ", ".join(report.figures_missing)
    return f"{told}; not found: {missing}." if missing else f"{told}."


def _wrapped(text: str, indent: str = "", first: str | None = None) -> str:
    from textwrap import fill

    start = indent if first is None else first
    return fill(text, 76, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)


def _as_data_uri(ctx: ToolContext, chart: Chart) -> str:
    png = ctx.artifacts.load(chart.artifact)
    return "data:image/png;base64," + base64.b64encode(png).decode()

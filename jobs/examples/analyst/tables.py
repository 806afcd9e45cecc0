"""The tools that look at the table: `profile_table` says what is in it, `run_sql` asks it.

Every result is kept whole, as `q<step>.json` and `q<step>.csv`; the model is shown its first rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import structlog

from jobs.agent.tool import ToolContext, ToolFailed, tool
from jobs.datasets.confine import ConfinementError, Crashed
from jobs.datasets.errors import Refused
from jobs.datasets.ingest import Ingested, ingest
from jobs.datasets.profile import ColumnProfile, profile
from jobs.datasets.query import Answer, query
from jobs.examples.analyst.shapes import (
    ROWS_SHOWN_MAX,
    TOP_VALUES_MAX,
    Column,
    JsonScalar,
    QueryResult,
    TableProfile,
    TopValue,
)

COLUMNS_PROFILED_MAX = 100
COLUMNS_WITH_ALL_TOP_VALUES = 40
TOP_VALUES_OF_MANY_COLUMNS = 6
TOP_VALUE_CHARACTERS_MAX = 60
NOTES_MAX = 30
CELL_CHARACTERS_SHOWN = 200
CHARACTERS_SHOWN = 24_000
TITLE_CHARACTERS_MAX = 200
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
NUMERIC_TYPES = ("DECIMAL", "DOUBLE", "FLOAT")

log = structlog.get_logger()


@tool(effect="read", idempotency="safe", work="computes", timeout_s=600, trusted=False)
def profile_table(ctx: ToolContext) -> TableProfile:
    """Read the uploaded file and describe its columns: types, ranges, gaps, commonest values."""
    ctx.progress("reading the file")
    table = _make_ready(ctx)
    ctx.progress("measuring its columns", 0.5)
    try:
        measured = profile(table.path, columns_max=COLUMNS_PROFILED_MAX)
    except ConfinementError as error:
        raise _failed(ctx, "the table could not be measured", error) from error
    is_wide = len(measured.columns) > COLUMNS_WITH_ALL_TOP_VALUES
    tops = TOP_VALUES_OF_MANY_COLUMNS if is_wide else TOP_VALUES_MAX
    described = TableProfile(
        file_name=_file_name(ctx),
        format=table.format,
        rows=measured.rows,
        columns=[_column(column, tops) for column in measured.columns],
        columns_left_out=measured.columns_left_out,
        notes=_limit_notes([*table.notes, *measured.notes]),
    )
    data = described.model_dump_json().encode()
    ctx.artifacts.save("profile.json", "application/json", data)
    return described


@tool(effect="read", idempotency="safe", work="computes", timeout_s=600, trusted=False)
def run_sql(ctx: ToolContext, sql: str, title: str) -> QueryResult:
    """Run one reading SQL statement (DuckDB dialect) on the table `data` and keep its result.

    Args:
        sql: One SELECT, WITH, VALUES, DESCRIBE or SUMMARIZE statement. Aggregate: at most 10,000
            rows are kept and 50 shown. Quote column names with double quotes.
        title: What the result shows, in a few words; it is printed above the figures.
    """
    table = _make_ready(ctx)
    try:
        answer = query(table.path, sql)
    except Refused as error:
        raise ToolFailed(f"The query did not run: {error}") from error
    except Crashed as error:
        raise _failed(
            ctx, "the query broke the database engine; write it differently", error
        ) from error
    name = f"q{ctx.seq}"
    result = QueryResult(
        query=name,
        title=" ".join(title.split())[:TITLE_CHARACTERS_MAX],
        sql=sql.strip(),
        columns=list(answer.columns),
        types=list(answer.types),
        rows=[list(row) for row in answer.rows],
        row_count=len(answer.rows),
        truncated=answer.truncated,
    )
    ctx.artifacts.save(f"{name}.json", "application/json", result.model_dump_json().encode())
    ctx.artifacts.save(f"{name}.csv", "text/csv; charset=utf-8", print_csv(answer))
    return result.model_copy(update={"rows": shorten_rows(result.rows)})


def _make_ready(ctx: ToolContext) -> Ingested:
    """The uploaded file as a table; made once, and found again by the steps that follow."""
    path = ctx.artifacts.fetch(ctx.input.dataset)
    try:
        return ingest(path, owner=str(ctx.tenant_id))
    except Refused as error:
        raise ToolFailed(f"The file cannot be read as a table: {error}.") from error
    except Crashed as error:
        raise _failed(ctx, "the file broke the reader; it may be damaged", error) from error


def _failed(ctx: ToolContext, said: str, error: ConfinementError) -> ToolFailed:
    """Tell the model in a sentence, and whoever operates this the whole."""
    log.warning("confined child failed", job_id=str(ctx.job_id), seq=ctx.seq, error=str(error))
    return ToolFailed(f"{said[0].upper()}{said[1:]}.")


def _file_name(ctx: ToolContext) -> str:
    return ctx.artifacts.fetch(ctx.input.dataset).name


def _column(measured: ColumnProfile, tops: int) -> Column:
    return Column(
        name=measured.name,
        type=measured.type,
        role=measured.role,
        distinct=measured.distinct,
        nulls=measured.nulls,
        min=measured.min,
        max=measured.max,
        mean=measured.mean,
        top=[TopValue(value=_cut(value), count=count) for value, count in measured.top[:tops]],
        unit=measured.unit,
    )


def _cut(value: str | None) -> str | None:
    if value is None or len(value) <= TOP_VALUE_CHARACTERS_MAX:
        return value
    return value[:TOP_VALUE_CHARACTERS_MAX] + "…"


def _limit_notes(notes: list[str]) -> list[str]:
    if len(notes) <= NOTES_MAX:
        return notes
    return [*notes[:NOTES_MAX], f"and {len(notes) - NOTES_MAX} more notes of this kind"]


def shorten_rows(rows: Sequence[Sequence[JsonScalar]]) -> list[list[JsonScalar]]:
    """The first rows, long texts shortened, and never more than a model should read at once."""
    shown: list[list[JsonScalar]] = []
    characters = 0
    for row in rows[:ROWS_SHOWN_MAX]:
        cells = [_shorten(cell, CELL_CHARACTERS_SHOWN) for cell in row]
        characters += sum(len(str(cell)) + 2 for cell in cells)
        if shown and characters > CHARACTERS_SHOWN:
            break
        shown.append(cells)
    return shown


def _shorten(cell: JsonScalar, characters_max: int) -> JsonScalar:
    if isinstance(cell, str) and len(cell) > characters_max:
        return cell[:characters_max] + "…"
    return cell


def print_csv(answer: Answer) -> bytes:
    """A result as CSV that is safe to open in a spreadsheet: no cell of it can be a formula.

    Text that begins like a formula gets a leading apostrophe; numbers are left as they are.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([_disarm(name) for name in answer.columns])
    numeric = [type_.startswith(NUMERIC_TYPES) for type_ in answer.types]
    for row in answer.rows:
        writer.writerow(list(_print_cells(row, numeric)))
    return out.getvalue().encode()


def _print_cells(row: Iterable[JsonScalar], numeric: Iterable[bool]) -> Iterable[str]:
    for cell, is_number in zip(row, numeric, strict=True):
        match cell:
            case None:
                yield ""
            case bool():
                yield "true" if cell else "false"
            case str() if not is_number:
                yield _disarm(cell)
            case float():
                yield repr(cell)
            case _:
                yield str(cell)


def _disarm(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text

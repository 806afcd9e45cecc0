"""The typed values the analyst's tools return; what one tool gives, the next can rest on."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

JsonScalar = str | int | float | bool | None

TOP_VALUES_MAX = 12
ROWS_SHOWN_MAX = 50


class TopValue(BaseModel):
    """One of the commonest values of a column; `value` is None for missing."""

    value: str | None
    count: int


class Column(BaseModel):
    """One column of the table: exact counts, and a guess at the part it plays."""

    name: str = Field(description="As in the file; any characters. Quote it in SQL.")
    type: str = Field(description="The DuckDB type.")
    role: Literal["measure", "category", "date", "boolean", "identifier", "text", "constant"]
    distinct: int = Field(description="How many different values, missing ones not counted.")
    nulls: int = Field(description="How many rows have no value.")
    min: str | None = Field(description="The least value, printed.")
    max: str | None = Field(description="The greatest value, printed.")
    mean: float | None
    top: list[TopValue] = Field(
        max_length=TOP_VALUES_MAX, description="Of categories and booleans, commonest first."
    )
    unit: str | None = Field(description="Guessed from the name, such as km or USD.")


class TableProfile(BaseModel):
    """What the table is like."""

    table: str = Field(default="data", description="The name to use in SQL.")
    file_name: str
    format: str
    rows: int
    columns: list[Column]
    columns_left_out: int = 0
    notes: list[str] = Field(description="What was done to the file to read it, and what to mind.")


class QueryResult(BaseModel):
    """What a query returned; numbers are exact."""

    query: str = Field(description="The id of this result, such as q3.")
    title: str
    sql: str
    columns: list[str]
    types: list[str] = Field(description="The DuckDB types of the columns.")
    rows: list[list[JsonScalar]] = Field(
        description=f"The first rows, at most {ROWS_SHOWN_MAX}; the report has access to all."
    )
    row_count: int = Field(description="How many rows the result has, at most 10,000.")
    truncated: bool = Field(description="Whether there were more rows than that.")


class Chart(BaseModel):
    """A chart that was drawn."""

    chart: str = Field(description="The id of this chart, such as c5.")
    artifact: UUID
    title: str
    query: str
    alt: str


class Report(BaseModel):
    """A report that was written: one self-contained HTML file."""

    artifact: UUID
    title: str
    subject: str
    charts: list[str]
    queries: list[str]
    confidence: float | None = Field(
        default=None,
        description="The share of the figures in its sentences that stand in a query result.",
    )


class Receipt(BaseModel):
    """A mail that a server accepted."""

    message_id: str
    to: list[str]
    bytes: int
    accepted_at: str

"""What is worked out per group: a mean, a total, a share or a count, in SQL and in words."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.examples.analyst.planning.columns import Field, Table
from jobs.examples.analyst.planning.question import Focus, is_additive
from jobs.examples.analyst.wording import capital, exact, literal, quoted, with_unit


@dataclass(frozen=True)
class Gauge:
    """One figure per group: its SQL, the heading it appears under, and how to speak of it."""

    expression: str
    counted: str
    heading: str
    phrase: str
    unit: str | None
    adds_up: bool = False
    bare: str = ""
    short: str = "Value"

    @property
    def counts_rows(self) -> bool:
        """Whether the figure is the number of rows itself."""
        return self.heading == "Rows"

    @property
    def sample(self) -> str:
        """What the column with the sample size is headed."""
        return "Rows" if self.counted == "count(*)" else "Values"

    def said(self, value: object) -> str:
        """A value of this gauge in full, with its unit."""
        return with_unit(exact(value), self.unit)


def gauge_for(field: Field | None, focus: Focus) -> Gauge:
    """How this question wants this column summed up; the count of rows where there is none."""
    if field is None or (focus.aggregate == "count" and not focus.named_measures):
        return Gauge("count(*)", "count(*)", "Rows", "number of rows", None, True, "number of rows")
    if field.kind == "rate":
        return _rate(field)
    if focus.aggregate == "sum" or (focus.aggregate is None and is_additive(field)):
        return total_of(field)
    return median_of(field) if focus.aggregate == "median" else mean_of(field)


def mean_of(field: Field) -> Gauge:
    """The mean of a measure."""
    return _measured(field, "mean", f"round(avg({field.expression}), {field.decimals})")


def median_of(field: Field) -> Gauge:
    """The median of a measure."""
    return _measured(field, "median", f"round(median({field.expression}), {field.decimals})")


def total_of(field: Field) -> Gauge:
    """The sum of a measure; whole numbers stay whole."""
    summed = f"sum({field.expression})"
    shown = summed if field.whole else f"round({summed}, {field.decimals})"
    low = field.low_number
    return _measured(field, "total", shown, adds_up=low is not None and low >= 0)


def share_above_zero(field: Field) -> Gauge:
    """How many of the values are above zero, in percent."""
    above = f"round(100.0 * count(*) filter (where {field.expression} > 0)"
    return Gauge(
        expression=f"{above} / nullif(count({field.expression}), 0), 1)",
        counted=f"count({field.expression})",
        heading=f"{capital(field.label)} above 0 (%)",
        phrase=f"share of rows with {field.label} above 0",
        unit="%",
        bare=field.label,
    )


def _rate(field: Field) -> Gauge:
    return Gauge(
        expression=f"round(100.0 * avg(cast({field.expression} as integer)), 1)",
        counted=f"count({field.expression})",
        heading=f"{capital(field.label)}: yes (%)",
        phrase=f"share of rows where {field.label} is yes",
        unit="%",
        bare=field.label,
    )


def _measured(field: Field, how: str, expression: str, *, adds_up: bool = False) -> Gauge:
    unit = f" ({field.unit})" if field.unit else ""
    return Gauge(
        expression=expression,
        counted=f"count({field.expression})",
        heading=f"{capital(how)} {field.label}{unit}",
        phrase=f"{how} {field.label}",
        unit=field.unit,
        adds_up=adds_up,
        bare=field.label,
        short=f"{capital(how)}{unit}",
    )


class Selection:
    """The output columns of a query: every heading is unique, whatever the file's are called."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._items: list[str] = []

    def add(self, expression: str, heading: str) -> str:
        """Select `expression`; returns the heading it really got."""
        unique, tries = heading, 2
        while unique.lower() in self._taken:
            unique, tries = f"{heading} ({tries})", tries + 1
        self._taken.add(unique.lower())
        self._items.append(f"{expression} as {quoted(unique)}")
        return unique

    def __str__(self) -> str:
        return ",\n       ".join(self._items)

    def position(self, heading: str) -> int:
        """Where a heading stands, counted from 1, for `order by`."""
        ending = f" as {quoted(heading)}"
        return next(at for at, item in enumerate(self._items, 1) if item.endswith(ending))


def source(table: Table) -> str:
    """The table, quoted."""
    return quoted(table.name)


def where(focus: Focus, *tests: str, indent: int = 0) -> str:
    """The condition that restricts a query to what the question is about, or nothing.

    Indented while it is made: a finished query may hold line breaks that belong to names.
    """
    line = "\n" + " " * indent
    only = [f"cast({held.expression} as varchar) = {literal(value)}" for held, value in focus.only]
    tests = (*only, *tests)
    return (f"{line}where " + f"{line}  and ".join(tests)) if tests else ""


def fewest_rows_ranked(table: Table) -> int:
    """Groups with fewer rows are not ranked: their mean says little (0.1% of a large table)."""
    if table.rows < 50:
        return 1
    return 3 if table.rows < 1_000 else max(5, table.rows // 1_000)

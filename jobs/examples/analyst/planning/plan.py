"""Which enquiries to make of a table for a question, the question's own first."""

from __future__ import annotations

from jobs.examples.analyst.planning.columns import Table
from jobs.examples.analyst.planning.enquiries import (
    Enquiry,
    by_group,
    distribution,
    drivers,
    glance,
    overall,
    relation,
)
from jobs.examples.analyst.planning.gauges import gauge_for
from jobs.examples.analyst.planning.question import Focus
from jobs.examples.analyst.planning.times import (
    gauges_of_lines,
    groups_over_time,
    name_of_lines,
    over_time,
    recurring,
)

GROUPINGS_MAX = 3


def make_plan(table: Table, focus: Focus) -> list[Enquiry]:
    """The enquiries in the order the report tells them; never empty."""
    if table.rows == 0:
        return [glance(table)]
    groupings = focus.dimensions[: focus.named_dimensions or 2][:GROUPINGS_MAX]
    by_groups = [by_group(table, focus, held) for held in groupings]
    whens = recurring(table, focus) if focus.wants_when else []
    whens.sort(key=lambda one: one.key != f"by-{focus.when_first}")
    series = over_time(table, focus)
    times = [*whens, series] if focus.when_first or not focus.develops else [series, *whens]
    own_first = (
        [*by_groups, *times]
        if focus.named_dimensions or not focus.wants_when
        else [*times, *by_groups]
    )
    crossed = groups_over_time(table, focus) if focus.named_dimensions or by_groups else None
    is_open = not focus.named_dimensions and not focus.wants_when
    why = drivers(table, focus) if focus.wants_why or is_open else None
    related = relation(table, focus)
    chosen = [
        related,
        *([why] if focus.wants_why else []),
        *own_first,
        crossed,
        *([] if focus.wants_why else [why]),
        distribution(table, focus),
        overall(table, focus),
        glance(table),
    ]
    return [enquiry for enquiry in chosen if enquiry is not None]


def title_of(table: Table, focus: Focus) -> str:
    """What the report is called."""
    if table.rows == 0:
        return f"{table.file_name}: an empty table"
    what = gauge_for(focus.measure, focus)
    if focus.relates is not None:
        return _titled(f"{focus.relates[0].label} and {focus.relates[1].label}", focus)
    named = focus.dimensions[: max(1, focus.named_dimensions)][:GROUPINGS_MAX]
    if not named and focus.measure is None:
        return f"What is in {table.file_name}"
    labels = [held.label for held in named[: focus.named_dimensions or 1]]
    if focus.wants_when and not focus.named_dimensions:
        lines = gauges_of_lines(focus)
        return _titled(f"{name_of_lines(lines)} over time", focus)
    if focus.wants_when:
        labels.append("time")
    by = f" by {_listed(labels)}" if labels else ""
    return _titled(f"{what.phrase}{by}", focus)


def _listed(labels: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def _titled(text: str, focus: Focus) -> str:
    only = ", ".join(f"{held.label} {value}" for held, value in focus.only)
    return text[:1].upper() + text[1:] + (f" ({only})" if only else "")

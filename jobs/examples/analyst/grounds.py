"""What an analysis rests on: the query results and the profile of its job, as evidence.

A result counts when its statement reads the table. One that only says back what is written in it
proves nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.agent.tool import ToolContext
from jobs.examples.analyst.shapes import QueryResult
from jobs.guards.evidence import Evidence
from jobs.guards.grounding import Grounded, ground
from jobs.guards.guard import Context, Records

RESULT = re.compile(r"q\d{1,9}\.json")
READS_THE_TABLE = re.compile(r"(?i)\bdata\b")
# What they say went wrong may be told, figures and all.
TELL_TROUBLES = ("tool.profile_table", "tool.run_sql", "tool.send_email")


def recorded(context: Context) -> Evidence:
    """The evidence as the guard gathers it."""
    evidence = gather(context.records, context.input) if context.records else Evidence()
    for step in context.steps():
        if step.name in TELL_TROUBLES and step.output["outcome"] != "success":
            evidence.add_value(step.output["content"])
    return evidence


def gather(records: Records, asked: Mapping[str, Any]) -> Evidence:
    """What the job has kept of its queries, and what it was asked."""
    evidence = Evidence()
    for kept in records.list():
        if RESULT.fullmatch(kept.name):
            _add_result(evidence, QueryResult.model_validate_json(records.load(kept.id)))
        elif kept.name == "profile.json":
            evidence.add_value(json.loads(records.load(kept.id)))
    evidence.add_asked(str(asked.get("ask", "")))
    return evidence


def _add_result(evidence: Evidence, result: QueryResult) -> None:
    if not READS_THE_TABLE.search(result.sql):
        return
    evidence.add_rows(result.rows)
    evidence.add_value([result.columns, result.row_count, result.sql])


def ground_report(ctx: ToolContext, texts: Iterable[str]) -> Grounded:
    """How much of what a report says in words stands in the results of its job."""
    return ground(texts, gather(ctx.artifacts, {"ask": getattr(ctx.input, "ask", "")}))

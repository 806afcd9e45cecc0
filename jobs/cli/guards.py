"""`stepwell guards`: what guards have said of what passed through a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from jobs.cli.finding import find_platform
from jobs.cli.ids import find_job_id
from jobs.cli.options import AsJson, JobId
from jobs.cli.speech import count, emit, one_line, out, plain, say

# The name under which those are counted that had nothing to say.
SILENT = "*"


def list_verdicts(job: JobId, as_json: AsJson = False) -> None:
    """Show what guards have said in a job, the plain allows only counted."""
    with find_platform().client() as client:
        found = client.guards(find_job_id(client, job))
    if as_json:
        emit(found)
        return
    spoken = [each for each in found if each["guard"] != SILENT]
    if spoken:
        out.print(verdicts_table(spoken))
    allowed = sum(each["count"] for each in found if each["guard"] == SILENT)
    say(f"{count(allowed, 'time')} a guard looked and had nothing to say.")


def verdicts_table(spoken: Sequence[dict[str, Any]]) -> Table:
    """Verdicts, one a line, in the order of their steps."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("seq", justify="right")
    for title in ("stage", "guard", "verdict"):
        table.add_column(title, no_wrap=True)
    table.add_column("reason", overflow="fold", ratio=1)
    for each in spoken:
        told = (each["stage"], plain(one_line(each["guard"], 40)), each["verdict"])
        table.add_row(str(each["seq"]), *told, plain(each["reason"]))
    return table

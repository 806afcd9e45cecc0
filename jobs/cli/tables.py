"""Jobs, steps and artifacts as tables and panels for a person's eyes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.digest import came_out, has_failed, went_in
from jobs.cli.ids import SHOWN, short
from jobs.cli.speech import (
    ago,
    gist,
    one_line,
    out,
    plain,
    size,
    span,
    span_between,
    status_text,
)
from jobs.cli.waiting import wants

# Columns a terminal needs to show a step in full.
WIDE = 110
# What the other columns take of a narrow terminal, about.
FIXED_WIDTH = 48


def jobs_table(jobs: list[dict[str, Any]]) -> Table:
    """Jobs, one a line, newest first."""
    table = _table()
    shows_wants = any(wants(job) for job in jobs)
    # What is waited for is worth more than how much was done, where there is no room for both.
    shows_work = out.width >= WIDE or not shows_wants
    for title in ("job", "agent", "status"):
        table.add_column(title, no_wrap=True, min_width=SHOWN if title == "job" else None)
    for title in (*["waits for"] * shows_wants, *["steps", "took"] * shows_work, "asked"):
        table.add_column(title, no_wrap=True)
    table.add_column("for", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs:
        took = span_between(job["started_at"], job["finished_at"]) if job["started_at"] else ""
        table.add_row(
            short(job["id"]),
            one_line(job["agent"], 24),
            status_text(job["status"]),
            *[wants(job)] * shows_wants,
            *[str(job["steps_done"]), took] * shows_work,
            ago(job["created_at"]),
            _asked(job["input"]),
        )
    return table


def steps_table(steps: list[dict[str, Any]], workers: list[dict[str, Any]]) -> Table:
    """The checkpoint table of a job; a narrow terminal is spared what is the same everywhere."""
    names = {worker["id"]: worker["name"] for worker in workers}
    is_wide = out.width >= WIDE
    shows_tries = is_wide or any(step["tries"] > 1 for step in steps)
    table = _table()
    table.add_column("seq", justify="right")
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if shows_tries:
        table.add_column("tries", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("worker", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    # What went in and out gets whatever width is left, however narrow the terminal.
    for title in ("in", "out") if is_wide else ("in → out",):
        table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1)
    for step in steps:
        cells: list[str | Text] = [
            str(step["seq"]),
            one_line(step["name"], 40),
            status_text(step["state"]),
        ]
        cells += [_tries(step)] if shows_tries else []
        cells += [_worker(step["worker"], names)] if is_wide else []
        cells += [_took(step), *(_in_and_out(step) if is_wide else [_in_to_out(step)])]
        table.add_row(*cells)
    return table


def _in_and_out(step: Mapping[str, Any]) -> tuple[Text, Text]:
    told = Text(came_out(step, out.width), "red" if has_failed(step) else "")
    return Text(went_in(step, out.width)), told


def _in_to_out(step: Mapping[str, Any]) -> Text:
    given, told = _in_and_out(step)
    # Half of what is left on the line, so that neither side pushes the other off it.
    given.truncate(max(12, (out.width - FIXED_WIDTH) // 2), overflow="ellipsis")
    return Text.assemble(given, " → ", told) if given else told


def artifacts_table(artifacts: list[dict[str, Any]]) -> Table:
    """What a job made, one a line."""
    table = _table()
    table.add_column("name", overflow="fold")
    table.add_column("type", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("step", justify="right")
    table.add_column("id", no_wrap=True)
    for artifact in artifacts:
        table.add_row(
            plain(artifact["name"]),
            one_line(artifact["media_type"], 40),
            size(artifact["size_bytes"]),
            "" if artifact["seq"] is None else str(artifact["seq"]),
            artifact["id"],
        )
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)


def _tries(step: Mapping[str, Any]) -> str:
    lost = f" ({step['losses']} lost)" if step["losses"] else ""
    return f"{step['tries']}{lost}"


def _took(step: Mapping[str, Any]) -> str:
    if step["duration_ms"] is not None:
        return span(step["duration_ms"] / 1000)
    return span_between(step["claimed_at"], None) if step["state"] == "running" else ""


def _worker(worker_id: str | None, names: Mapping[str, str]) -> str:
    """Its name while it is alive, afterwards the end of its id."""
    if worker_id is None:
        return ""
    return one_line(names.get(worker_id, short(worker_id)), 24)


def _asked(asked: Mapping[str, Any]) -> str:
    words = asked.get("ask")
    return one_line(words, 200) if isinstance(words, str) else gist(asked, 200)


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2))


def agents_page(agents: list[dict[str, Any]], *, in_full: bool) -> Group:
    """Agents with their tools; in full, also what each takes."""
    parts: list[RenderableType] = []
    for agent in agents:
        parts.append(Text.assemble((plain(agent["name"]), "bold"), f"  {_first(agent)}"))
        if in_full:
            parts.append(_indented(_fields_table(agent["input_schema"])))
        if agent["tools"]:
            parts.append(_indented(_tools_table(agent["tools"])))
        parts.append(Text())
    return Group(*parts[:-1]) if parts else Group(Text("No agents are served here.", "dim"))


def _first(agent: Mapping[str, Any]) -> str:
    lines = plain(agent["description"] or "").strip().splitlines()
    return lines[0] if lines else ""


def _tools_table(tools: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for tool in tools:
        table.add_row(plain(tool["name"]), tool["effect"], _first(tool))
    return table


def _fields_table(schema: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    needed = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        table.add_row(name, "needed" if name in needed else "optional", _described(field))
    return table


def _described(field: Mapping[str, Any]) -> str:
    kinds = [field, *field.get("anyOf", [])]
    kind = next((k.get("format") or k["type"] for k in kinds if k.get("type")), "any")
    return f"{plain(field.get('description', ''))} ({kind})".strip()

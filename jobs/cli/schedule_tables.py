"""Schedules for a person's eyes: a table of all, and a page with the next runs and last ticks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.ids import short
from jobs.cli.speech import ago, count, gist, one_line, out, plain, span

REASONS = {
    "missed": "nothing ran when it came",
    "overlap": "the job before it went on",
    "queue_full": "too many waited before it",
}
STYLES = {"fired": "green", "skipped": "yellow", "waiting": "magenta"}
SIGNS = {"fired": "✓", "skipped": "·", "waiting": "…"}


def schedules_table(found: list[dict[str, Any]]) -> Table:
    """Schedules, one a line."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("schedule", "agent", "runs", "zone", "next run", "last tick"):
        table.add_column(title, no_wrap=True)
    for each in found:
        table.add_row(
            one_line(each["name"], 32),
            one_line(each["agent"], 24),
            rhythm(each),
            plain(each["zone"]),
            _next_of(each),
            ago(each["last_tick_at"]) or "never",
        )
    return table


def schedule_page(found: Mapping[str, Any], ticks: list[dict[str, Any]]) -> Group:
    """All about one schedule."""
    title = Text.assemble(
        (plain(found["name"]), "bold"), f"  {rhythm(found)}, {plain(found['zone'])}"
    )
    parts: list[RenderableType] = [title, _indented(_facts_of(found)), Text()]
    if found["paused_at"] is not None:
        parts.append(Text(f"paused {ago(found['paused_at'])}", "yellow"))
    elif found["next_runs"]:
        parts.append(Text("next runs", "dim"))
        parts.append(_indented(Text("\n".join(map(_run_line, found["next_runs"])))))
    else:
        parts.append(Text("no run is to come", "dim"))
    parts += [Text(), Text("last ticks", "dim")]
    parts.append(_indented(_ticks_table(found, ticks) if ticks else Text("none yet", "dim")))
    return Group(*parts)


def rhythm(schedule: Mapping[str, Any]) -> str:
    """When it runs, in a few words."""
    if schedule["cron"] is not None:
        return plain(schedule["cron"])
    if schedule["every_s"] is not None:
        return f"every {span(schedule['every_s'])}"
    return f"once, {shown_run(schedule['at'])}"


def shown_run(stamp: str) -> str:
    """A moment as the API tells it, on the clocks it is told in: `Mon 2027-03-29 07:30 +0200`."""
    at = datetime.fromisoformat(stamp)
    seconds = ":%S" if at.second else ""
    return at.strftime(f"%a %Y-%m-%d %H:%M{seconds} %z")


def _run_line(stamp: str) -> str:
    away_s = (datetime.fromisoformat(stamp) - datetime.now(UTC)).total_seconds()
    return f"{shown_run(stamp)}   {f'in {span(away_s)}' if away_s > 0 else 'due'}"


def _next_of(schedule: Mapping[str, Any]) -> Text:
    if schedule["paused_at"] is not None:
        return Text("paused", "yellow")
    runs = schedule["next_runs"]
    return Text(shown_run(runs[0])) if runs else Text("none any more", "dim")


def _facts_of(found: Mapping[str, Any]) -> Table:
    facts = {
        "asks": f"{plain(found['agent'])}  {gist(found['input'], max(20, out.width - 24))}",
        "class": found["class"],
        "model": plain(found["model"] or ""),
        "deadline": span(found["deadline_s"]),
        "jitter": span(found["jitter_s"]) if found["jitter_s"] else "",
        "catch-up": _catch_up(found),
        "overlap": found["overlap"],
        "asked for by": plain(found["requester"] or ""),
        "id": found["id"],
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, told in facts.items():
        if told:
            table.add_row(name, told)
    return table


def _catch_up(found: Mapping[str, Any]) -> str:
    if found["catch_up"] == "all":
        return f"all, the last {found['catch_up_max']:,}"
    return str(found["catch_up"])


def _ticks_table(found: Mapping[str, Any], ticks: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    zone = _zone_of(found["zone"])
    for tick in ticks:
        at = datetime.fromisoformat(tick["tick_at"]).astimezone(zone)
        state = tick["state"]
        sign = Text(f"{SIGNS.get(state, ' ')} {state}", STYLES.get(state, ""))
        table.add_row(shown_run(at.isoformat()), sign, _fate(tick))
    return table


def _zone_of(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # This machine may know fewer zones than the platform.
        return UTC


def _fate(tick: Mapping[str, Any]) -> str:
    if tick["job_id"] is not None:
        return f"job {short(tick['job_id'])}"
    reason = REASONS.get(tick["reason"], plain(tick["reason"] or "behind the job before it"))
    return f"{reason}, with {count(tick['missed'], 'tick')} before" if tick["missed"] else reason


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2))

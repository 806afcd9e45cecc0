"""`stepwell queues`: what waits where and for how long, the level, refusals, and who works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.cli.finding import find_platform
from jobs.cli.ids import short
from jobs.cli.options import AsJson
from jobs.cli.speech import ago, count, emit, one_line, out, span, span_between

LEVELS = {
    0: ("normal", "green"),
    1: ("optional work is left out", "yellow"),
    2: ("batch and background have their guaranteed share only", "yellow"),
    3: ("new default work is taken where it can start at once", "red"),
}
# A census older than this says that no scheduler is at work.
STALE_S = 15.0


def queues(as_json: AsJson = False) -> None:
    """Show what waits and for how long, the level, what was refused, and which workers live."""
    with find_platform().client() as client:
        found, workers = client.queues(), client.workers()
    if as_json:
        emit({"lanes": found, "workers": workers})
    else:
        out.print(queues_page(found, workers))


def queues_page(found: Mapping[str, Any], workers: list[dict[str, Any]]) -> Group:
    """The level, the classes with what waits, refusals, and the workers that are alive."""
    nobody = Text("No worker is alive: nothing will be done until one starts.", "red")
    parts: list[RenderableType] = [level_line(found), Text(), classes_table(found)]
    refused = refusals_line(found["refusals"])
    parts += [Text(), refused] if refused else []
    parts += [Text(), workers_table(workers) if workers else nobody]
    return Group(*parts)


def level_line(found: Mapping[str, Any]) -> Text:
    """The level in words, and whether the figures can be believed."""
    words, style = LEVELS[found["level"]]
    since = f" (for {span_between(found['level_since'], None)})" if found["level"] else ""
    line = Text.assemble(("level ", ""), (f"{found['level']}: {words}", style), since)
    age_s = found["measured_s"]
    if age_s is None or age_s > STALE_S:
        told = "never" if age_s is None else f"{span(age_s)} ago"
        line.append(f"\nWhat waits was last counted {told}: no scheduler is at work.", "red")
    return line


def classes_table(found: Mapping[str, Any]) -> Table:
    """A class a line: on its lanes, waiting behind them, running."""
    table = _table()
    titles = ("class", "on lanes", "waiting", "yours", "oldest", "wait", "running", "starts/s")
    for title in titles:
        table.add_column(title, justify="left" if title == "class" else "right", no_wrap=True)
    table.add_column("refused", justify="right")
    table.add_column("", ratio=1)
    for each in found["classes"]:
        lanes = (f"stepwell.{each['name']}.waits", f"stepwell.{each['name']}.computes")
        lying = sum(lane["waiting"] for lane in found["data"] if lane["name"] in lanes)
        rate = each["started_per_s"]
        table.add_row(
            each["name"],
            f"{lying:,}",
            f"{each['waiting']:,}",
            f"{each['yours']:,}",
            span(each["oldest_s"]),
            "?" if each["wait_s"] is None else span(each["wait_s"]) if each["waiting"] else "",
            f"{each['running']:,}",
            "" if rate is None else f"{rate:.1f}",
            f"{each['refused']:,}",
            "",
        )
    return table


def refusals_line(refusals: list[dict[str, Any]]) -> Text | None:
    """What was refused to this tenant lately, and why."""
    if not refusals:
        return None
    told = ", ".join(f"{each['count']:,} {each['class']} ({each['code']})" for each in refusals)
    many = count(sum(each["count"] for each in refusals), "submission")
    return Text(f"{many} of yours refused within the last hour: {told}", "yellow")


def workers_table(workers: list[dict[str, Any]]) -> Table:
    """The workers that are alive, one a line."""
    table = _table()
    for title in ("worker", "name", "work", "slots", "state", "since", "last beat"):
        table.add_column(title, no_wrap=True)
    for worker in workers:
        table.add_row(
            short(worker["id"]),
            one_line(worker["name"], 40),
            worker["work"],
            str(worker["slots"]),
            worker["state"],
            ago(worker["started_at"]),
            f"{span(worker['silent_s'])} ago",
        )
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)

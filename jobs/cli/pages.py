"""Everything `stepwell show` shows of one job, and the long values in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.ids import short
from jobs.cli.speech import ago, gist, one_line, plain, span_between, status_text
from jobs.cli.tables import jobs_table, steps_table
from jobs.cli.waiting import (
    ASKING,
    approvals_command,
    left,
    question_block,
    signal_command,
    waits_table,
    wants,
)

ENDED = {"completed", "failed", "expired", "cancelled"}
LONG_TEXT_LINES_MAX = 40
CHILDREN_SHOWN = 20
WAITS_SHOWN = 30


def job_page(
    job: dict[str, Any],
    steps: list[dict[str, Any]],
    workers: list[dict[str, Any]],
    *,
    waits: list[dict[str, Any]],
    children: list[dict[str, Any]],
) -> Group:
    """One job with its steps, waits and children; `workers` give their names to the steps."""
    parts: list[RenderableType] = [_facts(job), Text()]
    parts += [steps_table(steps, workers), Text()] if steps else []
    if waits:
        parts += [Text("waits", "bold"), _indented(_waits(waits)), Text()]
    if children:
        parts += [Text("jobs it asked for", "bold"), _indented(_children(children)), Text()]
    if job["output"] is not None:
        parts += [Text("output", "bold"), _indented(_value(job["output"])), Text()]
    if job["degraded"]:
        parts += [Text("left out, as it was optional", "bold yellow"), _left_out(job), Text()]
    if job["error"]:
        parts += [Text("error", "bold red"), _indented(_error(job["error"])), Text()]
    asked = [each for each in waits if each["state"] == "pending" and each["kind"] in ASKING]
    for each in asked:
        parts += [question_block(each, names_step=len(asked) > 1), Text()]
    parts += [Text("how to go on", "bold"), *(Text(f"  {hint}") for hint in hints(job, waits))]
    return Group(*parts)


def hints(job: dict[str, Any], waits: list[dict[str, Any]]) -> Iterator[str]:
    """How one may go on from here."""
    name = short(job["id"])
    for wait in waits:
        if wait["kind"] == "signal" and wait["state"] == "pending":
            yield f"{signal_command(wait):<38}  send what it waits for"
        if wait["kind"] == "approval" and wait["state"] == "pending":
            yield f"{approvals_command(wait):<38}  see the call that waits, and decide about it"
    if job["status"] in ("queued", "running", "input_required"):
        yield f"stepwell watch {name}                  follow it live"
        yield f"stepwell cancel {name}                 ask it to stop"
    else:
        yield f"stepwell artifacts {name} --save DIR   keep the files it made"
    if job["status"] == "failed":
        yield f"stepwell dead-letters replay {name}   go on from the failed step, as a new job"
    yield f"stepwell show {name} --json            everything that was recorded"


def _left_out(job: dict[str, Any]) -> Padding:
    told = [f"- {each['seq']}  {each['name']}: {each['why']}" for each in job["degraded"]]
    return _indented(_value("\n".join(told)))


def _waits(waits: list[dict[str, Any]]) -> RenderableType:
    table = waits_table(waits[-WAITS_SHOWN:])
    if len(waits) <= WAITS_SHOWN:
        return table
    return Group(Text(f"… {len(waits) - WAITS_SHOWN} before these: use --json", "dim"), table)


def _children(children: list[dict[str, Any]]) -> RenderableType:
    table = jobs_table(children[:CHILDREN_SHOWN])
    if len(children) <= CHILDREN_SHOWN:
        return table
    return Group(table, Text(f"… and {len(children) - CHILDREN_SHOWN} more: use --json", "dim"))


def _facts(job: dict[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("job", Text(job["id"], "bold"))
    facts.add_row("agent", f"{plain(job['agent'])} {plain(job['agent_version'])}".rstrip())
    facts.add_row("status", _standing(job))
    facts.add_row("asked", gist(job["input"], 400))
    if job["input_tainted"]:
        facts.add_row("", "written by a job that had read texts from outside, and seen by nobody")
    facts.add_row("model", plain(job["model"] or "the platform's own"))
    facts.add_row("class", job["class"])
    facts.add_row("accepted", f"{job['created_at']}  ({ago(job['created_at'])})")
    if job["deadline_at"]:
        over = "" if job["finished_at"] else f"  ({left(job['deadline_at'])})"
        facts.add_row("deadline", f"{job['deadline_at']}{over}")
    for name, told in _lineage(job):
        facts.add_row(name, told)
    if job["started_at"]:
        waited = span_between(job["created_at"], job["started_at"])
        since = span_between(job["started_at"], job["finished_at"])
        took = f"took {since}" if job["finished_at"] else f"{since} since"
        facts.add_row("time", f"waited {waited} to begin, {took}")
    facts.add_row("steps", f"{job['steps_done']} done, {job['outstanding']} outstanding")
    if (job["amplification"] or 1.0) > 1.0:
        facts.add_row("tries", f"{job['amplification']:.2f} for each step, in its whole line")
    if job["tainted_by"]:
        facts.add_row("has read", f"texts from outside: {plain(', '.join(job['tainted_by']))}")
    facts.add_row("spent", _spent(job["usage"]))
    return facts


def _lineage(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where it comes from, and what came of it."""
    yield "came by", " → ".join([*job["origins_above"], job["origin"]])
    yield "asked for by", _requester(job)
    if job["parent_job_id"]:
        first = job["root_id"]
        further = "" if first == job["parent_job_id"] else f", in the line of {first}"
        yield "asked by", f"a step of job {job['parent_job_id']}{further}"
    if job["forked_from"]:
        seq = job["forked_from_seq"]
        yield "forked", f"from job {job['forked_from']}, on its own from step {seq} on"
    if job["children"]:
        yield "children", f"{job['children']:,}"


def _requester(job: Mapping[str, Any]) -> str:
    name = plain(job["requester"] or "nobody by name")
    return f"{name}, as {plain(', '.join(job['roles']))}" if job["roles"] else name


def _standing(job: dict[str, Any]) -> Text:
    text = status_text(job["status"])
    waits_for = wants(job)
    if waits_for:
        text.append(f", waits for {waits_for}")
    elif job["status_reason"]:
        text.append(f" ({plain(job['status_reason']).replace('_', ' ')})")
    if job["cancel_requested_at"] and job["status"] not in ENDED:
        text.append(", asked to stop")
    return text


def _spent(usage: Mapping[str, Any]) -> str:
    if not usage["requests"]:
        return "nothing: no model was asked"
    tokens = f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out"
    cost = usage["cost_usd"]
    price = "price unknown" if cost is None else f"${cost:.4f}"
    return f"{usage['requests']} model requests, {tokens}, {price}"


def _error(error: Mapping[str, Any]) -> Group:
    lines: list[RenderableType] = [Text(plain(error.get("message") or error))]
    if error.get("class"):
        lines.append(Text(f"class: {plain(error['class'])}", "dim"))
    if error.get("hint"):
        lines.append(Text.assemble(("try: ", "bold"), plain(error["hint"])))
    return Group(*lines)


def _value(value: object) -> RenderableType:
    """An output: names and values where it has names, bullets where it is a list."""
    if isinstance(value, Mapping):
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, item in value.items():
            if item not in (None, [], {}):
                grid.add_row(plain(name), _value(item))
        return grid
    if isinstance(value, list):
        if all(isinstance(item, Mapping | list) for item in value):
            return Text("\n".join(gist(item, 300) for item in value[:LONG_TEXT_LINES_MAX]))
        return Text("\n".join(f"- {one_line(item, 1000)}" for item in value[:LONG_TEXT_LINES_MAX]))
    lines = plain(value).splitlines()
    shown = lines[:LONG_TEXT_LINES_MAX]
    if len(lines) > len(shown):
        shown.append(f"… and {len(lines) - len(shown)} more lines: use --json")
    return Text("\n".join(shown))


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2))

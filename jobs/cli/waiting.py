"""What jobs wait for in words, and what people are asked, so that they can decide by reading it."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.ids import short
from jobs.cli.speech import ago, gist, moment, one_line, plain, span, span_between, status_text

Shape = Mapping[str, Any]

# What a step does while it waits, by the kind of its wait; `{}` is the name of the wait.
DOES = {
    "timer": "sleeps",
    "signal": "waits for the signal {}",
    "children": "waits for the jobs it asked for",
    "question": "asks a question",
    "reconcile": "asks whether a call happened",
    "review": "asks whether to go on",
    "approval": "waits for a yes to {}",
}
# What a job waits for, by its status_reason or waiting_for.
WANTS = {
    "timer": "its time",
    "signal": "a signal",
    "children": "its children",
    "question": "an answer",
    "reconcile": "a decision",
    "review": "a decision",
    "approval": "an approval",
    "retry_scheduled": "another try",
    "agent_changed": "a worker with its version",
}
ASKING = frozenset({"question", "reconcile", "review"})
# What a person has to end, by whatever command.
FOR_PEOPLE = ASKING | {"approval"}
DECIDED_BY_FLAG = {"again": "--again", "fail": "--fail", "continue": "--continue"}
MEANS = {
    "happened": "it did happen, and this was its result",
    "again": "it did not: make the call",
    "fail": "give the job up",
    "continue": "go on with the code as it is now",
}
ARGS_LINES_MAX = 40
# Longer than this, nobody counts the seconds.
SECONDS_TOLD_MAX = 180
CHOICES_SHOWN = 8
# More questions than this are told in a line each.
IN_FULL_MAX = 5


def does(kind: str, name: str) -> str:
    """What a step does while it waits: `waits for the signal 'paid'`."""
    return DOES.get(kind, f"waits for {kind} {{}}").format(repr(one_line(name, 60)))


def wants(job: Shape) -> str:
    """What a job waits for, and for how much longer; empty when it waits for nothing."""
    what = job["waiting_for"] or job["status_reason"]
    if what is None or job["finished_at"] is not None:
        return ""
    told = WANTS.get(what, plain(what).replace("_", " "))
    return f"{told}, {left(job['status_until'])}" if job["status_until"] else told


def left(until: str | None) -> str:
    """How long it is until then: `58 min left`; `due` when the moment has passed."""
    at = moment(until)
    if at is None:
        return ""
    seconds = (at - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        return "due"
    is_minutes = SECONDS_TOLD_MAX <= seconds < 3600
    return f"{seconds // 60:.0f} min left" if is_minutes else f"{span(seconds)} left"


def questions_page(questions: Sequence[Shape]) -> RenderableType:
    """What is asked: in full while that is little, in a line each when it is much."""
    if len(questions) > IN_FULL_MAX:
        return questions_table(questions)
    parts: list[RenderableType] = []
    for each in questions:
        siblings = sum(1 for other in questions if other["job_id"] == each["job_id"])
        parts += [question_block(each, names_step=siblings > 1), Text()]
    return Group(*parts[:-1])


def questions_table(questions: Sequence[Shape]) -> Table:
    """Questions, one a line, oldest first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for title in ("job", "agent", "step", "asked", "left"):
        table.add_column(title, no_wrap=True, justify="right" if title == "step" else "left")
    table.add_column("what", no_wrap=True, overflow="ellipsis", ratio=1)
    for each in questions:
        table.add_row(
            short(each["job_id"]),
            one_line(each["agent"], 20),
            str(each["seq"]),
            ago(each["created_at"]),
            left(each["until"]).removesuffix(" left"),
            _in_short(each),
        )
    return table


def question_block(question: Shape, *, names_step: bool) -> Group:
    """One question with everything a person was given to decide it by, and how to answer it."""
    prompt = question["prompt"] or {}
    head = Text.assemble(
        ("? ", "magenta"),
        (plain(prompt.get("ask") or does(question["kind"], question["name"])), "bold"),
    )
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, told in _facts(question, prompt):
        facts.add_row(name, told)
    ways = Table.grid(padding=(0, 2, 0, 0))
    ways.add_column(overflow="fold")
    ways.add_column(style="dim", overflow="fold")
    for way, meaning in ways_to_answer(question, names_step=names_step):
        ways.add_row(way, meaning)
    return Group(head, _indented(facts), Text("  to answer", "dim"), Padding(ways, (0, 0, 0, 4)))


def ways_to_answer(question: Shape, *, names_step: bool) -> Iterator[tuple[str, str]]:
    """Commands that answer the question, each with what it means."""
    step = f" --step {question['seq']}" if names_step else ""
    command = f"stepwell answer {short(question['job_id'])}{step}"
    choices = (question["prompt"] or {}).get("choices") or []
    for choice in choices[:CHOICES_SHOWN]:
        yield f"{command} {shlex.quote(plain(choice))}", ""
    if len(choices) > CHOICES_SHOWN:
        yield f"… or one of {len(choices) - CHOICES_SHOWN} more choices", ""
    if question["kind"] == "question" and not choices:
        yield f'{command} "your answer"', "or --result JSON, for anything but text"
    if question["name"] == "budget" and question["kind"] == "review":
        raising = f"stepwell budget raise {short(question['job_id'])}"
        yield f"{raising} {raise_option(question)}", "allow it more, and let it go on"
    for decision in question["decisions"]:
        flag = DECIDED_BY_FLAG.get(decision, "--happened --result JSON")
        yield f"{command} {flag}", MEANS.get(decision, "")


def raise_option(question: Shape) -> str:
    """The option that raises the cap that a step ran into."""
    short_of = (question["prompt"] or {}).get("budget") or {}
    whole_line = " --tree" if short_of.get("scope") == "tree" else ""
    amount = {"tokens": "--tokens 100000", "steps": "--steps 10", "seconds": "--time 30m"}
    return amount.get(short_of.get("unit", ""), "--usd 5") + whole_line


def signal_command(wait: Shape) -> str:
    """The command that sends what this wait waits for."""
    return f"stepwell signal {short(wait['job_id'])} {shlex.quote(plain(wait['name']))}"


def approvals_command(wait: Shape) -> str:
    """The command that shows the calls of this wait's job that wait for people."""
    return f"stepwell approvals {short(wait['job_id'])}"


def waits_table(waits: Sequence[Shape]) -> Table:
    """Waits of a job, in the order of its steps."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("step", justify="right")
    for title in ("what it did", "state", "took"):
        table.add_column(title, no_wrap=True)
    table.add_column("what came", no_wrap=True, overflow="ellipsis", ratio=1)
    for wait in waits:
        table.add_row(
            str(wait["seq"]),
            does(wait["kind"], wait["name"]),
            status_text(wait["state"]),
            span_between(wait["created_at"], wait["closed_at"]),
            _what_came(wait),
        )
    return table


def _facts(question: Shape, prompt: Shape) -> Iterator[tuple[str, str | Text]]:
    yield "job", f"{question['job_id']}, step {question['seq']} of {plain(question['agent'])}"
    if prompt.get("reason"):
        yield "why", plain(prompt["reason"])
    if prompt.get("tool"):
        yield "call", Text(plain(prompt["tool"]), "bold")
    if prompt.get("args") is not None:
        yield "with", args_text(prompt["args"])
    if prompt.get("key"):
        yield "key", plain(prompt["key"])
    if prompt.get("started_at"):
        yield "begun", f"{plain(prompt['started_at'])}  ({_ago(prompt['started_at'])})"
    if prompt.get("version"):
        yield "now", f"version {plain(prompt['version'])}"
    yield "asked", ago(question["created_at"])
    if question["until"]:
        yield "until", f"{question['until']}  ({left(question['until'])})"


def args_text(args: object) -> str:
    """Arguments to the letter, as somebody has to judge them; only their number of lines ends.

    What cannot be seen, such as a mark that turns the writing round, is written out.
    """
    written = json.dumps(args, indent=2, ensure_ascii=False)
    lines = "".join(c if _is_seen(c) else f"\\u{ord(c):04x}" for c in written).split("\n")
    if len(lines) > ARGS_LINES_MAX:
        more = len(lines) - ARGS_LINES_MAX
        lines = [*lines[:ARGS_LINES_MAX], f"… and {more} more lines: use --json"]
    return "\n".join(lines)


def _is_seen(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")


def _in_short(question: Shape) -> str:
    prompt = question["prompt"] or {}
    parts = [str(prompt.get("ask") or does(question["kind"], question["name"]))]
    if prompt.get("tool"):
        parts.append(f"{prompt['tool']} {gist(prompt.get('args'), 200)}")
    elif prompt.get("reason"):
        parts.append(str(prompt["reason"]))
    elif prompt.get("choices"):
        parts.append(f"({' | '.join(map(str, prompt['choices']))})")
    return one_line(" ".join(parts), 400)


def _what_came(wait: Shape) -> str:
    if wait["state"] == "pending":
        return left(wait["until"])
    by = f"by {one_line(wait['decided_by'], 40)}" if wait["decided_by"] else ""
    came = wait["result"]
    if isinstance(came, Mapping) and wait["decisions"]:
        told = [one_line(came.get("decision"), 20), gist(came.get("result"), 200)]
    else:
        told = [gist(came, 200)]
    return "  ".join(part for part in (*told, by) if part)


def _ago(stamp: str) -> str:
    try:
        return ago(stamp)
    except (TypeError, ValueError):
        return "?"


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2))

"""Watch a job: a live list of steps on a terminal, plain lines elsewhere, JSON lines on request.

What has happened is printed once and stays; only what is happening now is redrawn below it, so the
view stays small for a job of a thousand steps and the terminal keeps the whole story. Leaving the
view leaves the job alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from jobs.cli.ids import short
from jobs.cli.interruption import heard
from jobs.cli.speech import (
    Code,
    count,
    emit_line,
    err,
    one_line,
    plain,
    say,
    span,
    span_between,
    status_text,
)
from jobs.cli.story import StepStory, Story
from jobs.cli.waiting import (
    ASKING,
    FOR_PEOPLE,
    approvals_command,
    question_block,
    signal_command,
)
from jobs.client import Client, StepwellError

STEPS_SHOWN_MAX = 8
REDRAWS_PER_S = 8
SIGN_STYLES = {
    "✓": "green",
    "✗": "bold red",
    "↻": "yellow",
    "!": "yellow",
    "•": "dim",
    "?": "bold magenta",
    "…": "magenta",
}
STATE_SIGNS = {"waiting": ("↻", "yellow"), "parked": ("…", "magenta"), "woken": ("•", "cyan")}


def watch(
    client: Client, job_id: str, *, as_json: bool = False, farewell: str | None = None
) -> dict[str, Any]:
    """Follow a job to its end and return it as it ended.

    Raises KeyboardInterrupt after the farewell, which by default tells how to come back.
    """
    try:
        with heard():
            if as_json:
                return _watch_as_json(client, job_id)
            if err.is_terminal:
                return _watch_live(client, job_id, err)
            return _watch_plainly(client, job_id)
    except KeyboardInterrupt:
        way_back = f"The job goes on without you. Come back with: stepwell watch {short(job_id)}"
        say(f"\n{farewell or way_back}")
        raise


def follow(client: Client, job_id: str, *, as_json: bool) -> None:
    """Follow a job to its end, tell how it ended, and leave with the exit code it deserves."""
    job = watch(client, job_id, as_json=as_json)
    tell_ending(job)
    raise typer.Exit(code_of(job))


def code_of(job: dict[str, Any]) -> Code:
    """The exit code an ended job deserves."""
    return Code.OK if job["status"] == "completed" else Code.FAILED


def _watch_as_json(client: Client, job_id: str) -> dict[str, Any]:
    for event in client.events(job_id):
        emit_line(event)
        if event["type"] == "done":
            return dict(event["data"])
    raise AssertionError("the client ends a story with `done` or an error")


def _watch_plainly(client: Client, job_id: str) -> dict[str, Any]:
    story = Story()
    for event in client.events(job_id, on_gap=_tell_gap):
        if event["type"] == "done":
            return dict(event["data"])
        sentence = story.hear(event)
        if sentence is not None:
            say(plain(sentence))
        for way in ways_on(client, job_id, event):
            say(way)
    raise AssertionError("the client ends a story with `done` or an error")


def _watch_live(client: Client, job_id: str, console: Console) -> dict[str, Any]:
    story = Story()
    now = Now(story)
    with Live(now, console=console, refresh_per_second=REDRAWS_PER_S, transient=True) as live:
        for event in client.events(job_id, on_gap=now.tell_gap):
            now.gap = None
            if event["type"] == "done":
                return dict(event["data"])
            sentence = story.hear(event)
            if sentence is not None:
                live.console.print(coloured(sentence))
            for way in ways_on(client, job_id, event):
                live.console.print(way)
    raise AssertionError("the client ends a story with `done` or an error")


def ways_on(client: Client, job_id: str, event: dict[str, Any]) -> list[RenderableType]:
    """How the wait this event tells of is ended by somebody, if it still is one.

    A story is heard long after, too; what was answered then is not asked again.
    """
    if event["type"] != "step.waiting":
        return []
    kind, seq = event["data"].get("for"), event["data"].get("seq")
    try:
        if kind in ASKING:
            asked = [each for each in client.questions(job_id) if each["seq"] == seq]
            return [Padding(question_block(each, names_step=True), (0, 0, 0, 2)) for each in asked]
        if kind in FOR_PEOPLE:
            waiting = [each for each in client.approvals(job_id) if each["seq"] == seq]
            return [Text(f"  to decide: {approvals_command(each)}", "dim") for each in waiting]
        if kind == "signal":
            waits = client.waits(job_id)
            awaited = [w for w in waits if w["seq"] == seq and w["state"] == "pending"]
            return [Text(f"  to send it: {signal_command(each)}", "dim") for each in awaited]
    except StepwellError:
        pass  # The sentence has been told; `stepwell questions` and `show` tell the rest.
    return []


def _tell_gap(error: StepwellError) -> None:
    say(f"• connection lost, trying again ({one_line(error, 120)})")


def coloured(sentence: str) -> Text:
    """A sentence of the story with its sign in colour."""
    text = Text(plain(sentence))
    style = SIGN_STYLES.get(sentence[:1])
    if style:
        text.stylize(style, 0, len(sentence) if style == "dim" else 1)
    return text


class Now:
    """What is happening at this moment; drawn anew each time the terminal asks."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.gap: str | None = None
        self._spinner = Spinner("dots")

    def tell_gap(self, error: StepwellError) -> None:
        self.gap = one_line(error, 100)

    def __rich__(self) -> Group:
        return Group(*self._lines())

    def _lines(self) -> Iterator[Text | Table]:
        # A copy: the story goes on in another thread while this one draws.
        running = list(self.story.running)
        for step in running[:STEPS_SHOWN_MAX]:
            yield self._step(step)
        if len(running) > STEPS_SHOWN_MAX:
            yield Text(f"   and {len(running) - STEPS_SHOWN_MAX} more at the same time", "dim")
        if self.gap:
            yield Text(f"   connection lost, trying again ({self.gap})", "yellow")
        yield Text(f"   {self._summary(len(running))}", "dim")

    def _step(self, step: StepStory) -> Table:
        row = Table.grid(padding=(0, 1))
        told = Text(step.message, "dim", no_wrap=True, overflow="ellipsis")
        cells: list[Any] = [
            self._sign(step),
            Text(f"{step.seq:>3}  {plain(step.name)}", "bold", no_wrap=True),
            Text(span(step.took_s), "cyan", no_wrap=True),
        ]
        if step.done is not None:
            cells.append(ProgressBar(total=1.0, completed=min(1.0, max(0.0, step.done)), width=20))
        row.add_row(*cells, told)
        return row

    def _sign(self, step: StepStory) -> Spinner | Text:
        if step.state == "parked" and step.waits_for in FOR_PEOPLE:
            return Text("?", "bold magenta")
        if step.state in STATE_SIGNS:
            return Text(*STATE_SIGNS[step.state])
        return self._spinner

    def _summary(self, running_count: int) -> str:
        is_parked = self.story.is_parked
        parts = ["parked" if is_parked else self.story.status.replace("_", " ")]
        if self.story.settled_count:
            parts.append(f"{count(self.story.settled_count, 'step')} done")
        if self.story.status == "queued" and not running_count:
            parts.append("waiting for a worker")
        parts.append(f"Ctrl-C leaves the job {'waiting' if is_parked else 'running'}")
        return " · ".join(parts)


def tell_ending(job: dict[str, Any]) -> None:
    """One line on how a job ended, and how to see the rest."""
    took = span_between(job["created_at"], job["finished_at"])
    steps = count(job["steps_done"], "step")
    say(Text.assemble(status_text(job["status"]), f" in {took} · {steps}"))
    error = job.get("error")
    if error:
        say(Text(f"  {plain(error.get('message') or error)}", "red"))
        if error.get("hint"):
            say(Text.assemble(("  try: ", "bold"), plain(error["hint"])))
    say(Text(f"  every step: stepwell show {short(job['id'])}", "dim"))
    if job["status"] == "failed":
        again = f"stepwell dead-letters replay {short(job['id'])}"
        say(Text(f"  from the failed step on: {again}", "dim"))

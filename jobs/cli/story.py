"""A job's events told as a story: which step is where, and a sentence for each thing that happened.

It is fed events in order and knows nothing of terminals, so a live view, plain lines and tests read
the same story. An event of a kind it has never heard of is told by its name, not dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jobs.cli.speech import gist, moment, one_line, span

MESSAGE_CHARS_MAX = 160


@dataclass(slots=True)
class StepStory:
    """A step as far as its events tell."""

    seq: int
    name: str
    state: str = "running"
    started_at: datetime | None = None
    ms: float | None = None
    attempt: int = 1
    message: str = ""
    done: float | None = None

    @property
    def took_s(self) -> float | None:
        """Seconds it took, or has taken so far."""
        if self.ms is not None:
            return self.ms / 1000
        if self.started_at is None:
            return None
        return max(0.0, (datetime.now(UTC) - self.started_at).total_seconds())


@dataclass(slots=True)
class Story:
    """A job as far as its events tell."""

    status: str = "queued"
    queued_at: datetime | None = None
    steps: dict[int, StepStory] = field(default_factory=dict)
    last_id: int = 0

    @property
    def running(self) -> list[StepStory]:
        return [s for s in self.steps.values() if s.state in ("running", "waiting")]

    @property
    def settled_count(self) -> int:
        return sum(1 for s in self.steps.values() if s.state not in ("running", "waiting"))

    def hear(self, event: dict[str, Any]) -> str | None:
        """Take one event in; returns a sentence worth a line of its own, or None."""
        kind, data = str(event["type"]), dict(event["data"])
        self.last_id = event.get("id") or self.last_id
        at = moment(event.get("at"))
        if kind == "job.queued":
            self.queued_at = at
        if kind == "job.progress" and data.get("seq") in self.steps:
            self._hear_progress(data)
            return None
        family, _, what = kind.partition(".")
        if family == "step" and "seq" in data:
            return self._hear_step(what, data, at)
        if family == "job":
            return self._hear_job(what, data)
        return f"{kind} {gist(data, MESSAGE_CHARS_MAX)}".rstrip()

    def _hear_progress(self, data: dict[str, Any]) -> None:
        step = self.steps[data["seq"]]
        step.message = one_line(data.get("message") or "", MESSAGE_CHARS_MAX)
        step.done = data.get("done")

    def _hear_step(self, what: str, data: dict[str, Any], at: datetime | None) -> str | None:
        seq, name = int(data["seq"]), str(data.get("name", "step"))
        step = self.steps.setdefault(seq, StepStory(seq, name))
        title = f"{seq:>3}  {step.name}"
        match what:
            case "started":
                step.state, step.started_at, step.ms = "running", at, None
                step.attempt = int(data.get("attempt", 1))
                return None
            case "completed":
                step.state, step.ms = "completed", data.get("ms")
                if data.get("outcome", "success") != "success":
                    return f"! {title}  {span(step.took_s)}  said no, and the model was told"
                return f"✓ {title}  {span(step.took_s)}"
            case "failed":
                step.state, step.ms = "failed", data.get("ms", (step.took_s or 0) * 1000)
                return f"✗ {title}  {_cause(data)}"
            case "retry_scheduled":
                step.state = "waiting"
                step.message = f"tried {data.get('attempt', step.attempt)}x, will try again"
                return f"↻ {title}  {_cause(data)}; tried again {_when(data.get('until'))}"
            case _:
                return f"• {title}  {what.replace('_', ' ')}"

    def _hear_job(self, what: str, data: dict[str, Any]) -> str | None:
        changed = {"started": "running", "resumed": "running", "cancel_requested": self.status}
        if what != "progress":
            self.status = changed.get(what, what)
        match what:
            case "queued":
                return "• accepted"
            case "started":
                return "• a worker has it"
            case "cancel_requested":
                return "• asked to stop"
            case "progress":
                return f"• {one_line(data.get('message') or '', MESSAGE_CHARS_MAX)}"
            case "completed" | "failed" | "cancelled" | "expired":
                # How it ended is told at length by whoever watched it.
                return None
            case _:
                return f"• {what.replace('_', ' ')} {gist(data, MESSAGE_CHARS_MAX)}".rstrip()


def _cause(data: dict[str, Any]) -> str:
    error = data.get("error")
    if isinstance(error, dict):
        return one_line(error.get("message") or error.get("class") or "", MESSAGE_CHARS_MAX)
    return one_line(error or "no reason was recorded", MESSAGE_CHARS_MAX)


def _when(until: object) -> str:
    at = moment(until) if isinstance(until, str) else None
    if at is None:
        return "soon"
    return f"in {span(max(0.0, (at - datetime.now(UTC)).total_seconds()))}"

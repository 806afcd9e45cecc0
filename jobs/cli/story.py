"""A job's events told as a story: which step is where, and a sentence for each thing that happened.

It is fed events in order and knows nothing of terminals, so a live view, plain lines and tests read
the same story. An event of a kind it has never heard of is told by its name, not dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jobs.cli.ids import short
from jobs.cli.speech import clock, gist, moment, one_line, span
from jobs.cli.waiting import FOR_PEOPLE, does, left

MESSAGE_CHARS_MAX = 160
# A step that waits is `waiting` for its next try, or `parked` on something outside of the job.
UNSETTLED = ("running", "waiting", "parked", "woken")


@dataclass(slots=True)
class StepStory:
    """A step as far as its events tell."""

    seq: int
    name: str
    state: str = "running"
    started_at: datetime | None = None
    ms: float | None = None
    attempt: int = 1
    waits_for: str = ""
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
        return [s for s in self.steps.values() if s.state in UNSETTLED]

    @property
    def settled_count(self) -> int:
        return sum(1 for s in self.steps.values() if s.state not in UNSETTLED)

    @property
    def is_parked(self) -> bool:
        """Whether every step that is not done waits for something outside."""
        return bool(self.running) and all(s.state == "parked" for s in self.running)

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
        return _refused(kind, data) or f"{kind} {gist(data, MESSAGE_CHARS_MAX)}".rstrip()

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
                if data.get("outcome") == "degraded":
                    return f"! {title}  {span(step.took_s)}  left out: {_left_out(data)}"
                if data.get("outcome", "success") != "success":
                    told = "said no, and the model was told"
                    return f"! {title}  {span(step.took_s)}  {told}{_guarded(data)}"
                return f"✓ {title}  {span(step.took_s)}{_guarded(data)}"
            case "failed":
                step.state, step.ms = "failed", data.get("ms", (step.took_s or 0) * 1000)
                return f"✗ {title}  {_cause(data)}"
            case "retry_scheduled":
                step.state = "waiting"
                step.message = f"tried {data.get('attempt', step.attempt)}x, will try again"
                return f"↻ {title}  {_cause(data)}; tried again {_when(data.get('until'))}"
            case "waiting":
                step.state, step.message, step.done = "parked", "", None
                return self._hear_parked(step, data)
            case "woken":
                step.state, step.message = "woken", "woken, and waits for a worker"
                return f"• {title}  {_woken(data)}"
            case _:
                return f"• {title}  {what.replace('_', ' ')}"

    def _hear_parked(self, step: StepStory, data: dict[str, Any]) -> str:
        kind, until = str(data.get("for") or ""), data.get("until")
        step.waits_for = kind
        told = does(kind, str(data.get("what") or ""))
        step.message = f"{told}, until {clock(until)}" if isinstance(until, str) else told
        end = f", {left(until)}" if isinstance(until, str) else ""
        sign = "?" if kind in FOR_PEOPLE else "…"
        return f"{sign} {step.seq:>3}  {step.name}  {told}{end}"

    def _hear_job(self, what: str, data: dict[str, Any]) -> str | None:
        changed = {"started": "running", "resumed": "running", "cancel_requested": self.status}
        if what != "progress":
            self.status = changed.get(what, what)
        match what:
            case "queued":
                return _accepted(data)
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


def _accepted(data: dict[str, Any]) -> str:
    if data.get("forked_from"):
        old, seq = short(str(data["forked_from"])), data.get("from_step")
        return f"• accepted; shares what job {old} did, and goes on at step {seq}"
    if data.get("parent"):
        return f"• accepted, asked for by job {short(str(data['parent']))}"
    return "• accepted"


def _woken(data: dict[str, Any]) -> str:
    """What ended its wait."""
    kind, how = str(data.get("for") or ""), str(data.get("how") or "")
    if how == "expired":
        return "nothing came in time; it goes on"
    came = {
        "timer": "its time has come",
        "signal": f"the signal {one_line(data.get('what') or '', 60)!r} has come",
        "children": "the jobs it asked for are over",
        "question": "it was answered",
        "reconcile": "it was decided",
        "review": "it was decided",
        "approval": "its call was decided",
    }
    return f"{came.get(kind, how.replace('_', ' ') or 'woken')}; it goes on"


def _cause(data: dict[str, Any]) -> str:
    error = data.get("error")
    if isinstance(error, dict):
        return one_line(error.get("message") or error.get("class") or "", MESSAGE_CHARS_MAX)
    return one_line(error or "no reason was recorded", MESSAGE_CHARS_MAX)


def _left_out(data: dict[str, Any]) -> str:
    told = data.get("degraded")
    why = told.get("why") if isinstance(told, dict) else None
    return one_line(why or "it was optional", MESSAGE_CHARS_MAX)


def _refused(kind: str, data: dict[str, Any]) -> str | None:
    """What was asked for and not done."""
    match kind:
        case "call.refused":
            tool, why = one_line(data.get("tool") or "", 60), data.get("reason") or ""
            return f"✗ {data.get('seq', ''):>3}  {tool}  {one_line(why, MESSAGE_CHARS_MAX)}"
        case "children.refused":
            bound, most = data.get("bound"), data.get("max")
            what = {
                "depth": f"they would be deeper in their line than {most}",
                "children": f"this job would have more than {most} of its own",
                "descendants": f"its line would have more than {most}",
            }.get(str(bound), str(bound))
            return f"✗ {data.get('seq', ''):>3}  {data.get('asked', '')} jobs were refused: {what}"
        case _:
            return None


def _guarded(data: dict[str, Any]) -> str:
    """Which guards had something to say, after two blanks: `guards: secrets replace`."""
    told = data.get("guards")
    if not isinstance(told, list):
        return ""
    said = dict.fromkeys(f"{row.get('guard')} {row.get('verdict')}" for row in told)
    return f"  guards: {one_line(', '.join(said), MESSAGE_CHARS_MAX)}" if said else ""


def _when(until: object) -> str:
    at = moment(until) if isinstance(until, str) else None
    if at is None:
        return "soon"
    return f"in {span(max(0.0, (at - datetime.now(UTC)).total_seconds()))}"

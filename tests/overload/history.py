"""What a run has left behind: every ask with its fate, and every request on the wire.

All moments are seconds of the machine's clock (`time.time()`), which Postgres, the provider and the
clients share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from tests.overload.trace import Ask

ADMITTED = 202


@dataclass(slots=True)
class Wired:
    """One request as the provider saw it; status 0: the client hung up."""

    place: str
    token: str
    call: int
    at: float
    began_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the front door said to one try of an ask; status 0: nothing."""

    at: float
    status: int
    retry_after_s: float | None = None


@dataclass
class Fate:
    """One ask, what it was answered, and how its job ended."""

    ask: Ask
    answers: list[Answer] = field(default_factory=list)
    job_status: str | None = None
    ended_at: float | None = None

    @property
    def is_admitted(self) -> bool:
        return bool(self.answers) and self.answers[-1].status == ADMITTED

    @property
    def is_refused(self) -> bool:
        return not self.is_admitted

    @property
    def due_at(self) -> float:
        """By when it was to be done, from when it was last asked for."""
        return (self.answers[-1].at if self.answers else 0.0) + self.ask.kind.deadline_s

    @property
    def is_in_deadline(self) -> bool:
        is_done = self.job_status == "completed" and self.ended_at is not None
        return is_done and self.ended_at <= self.due_at  # type: ignore[operator]

    @property
    def took_s(self) -> float | None:
        """From asking to the end; None when it was not completed."""
        if self.job_status != "completed" or self.ended_at is None:
            return None
        return self.ended_at - self.answers[-1].at


@dataclass
class History:
    """One run of one policy: its trace began at one moment, and nobody looked after another."""

    policy: str
    began_at: float
    closed_at: float
    fates: list[Fate]
    wired: list[Wired]

    @cached_property
    def fate_of(self) -> dict[str, Fate]:
        return {fate.ask.token: fate for fate in self.fates}

    def is_judged(self, fate: Fate) -> bool:
        """Whether it can be said if the ask was met: it is over, or too late, or was refused."""
        return fate.is_refused or fate.ended_at is not None or fate.due_at <= self.closed_at

    def asked_between(self, from_s: float, to_s: float) -> list[Fate]:
        """The asks of a stretch of the trace."""
        return [fate for fate in self.fates if from_s <= fate.ask.at_s < to_s]

    def wired_between(self, from_s: float, to_s: float) -> list[Wired]:
        """The requests that came in during a stretch of the trace."""
        low, high = self.began_at + from_s, self.began_at + to_s
        return [wired for wired in self.wired if low <= wired.at < high]

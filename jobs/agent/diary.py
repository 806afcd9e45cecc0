"""The diary: what a step may write into the time to come, as its tools see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from store.states import CatchUp, JobClass, Overlap

CATCH_UP_MAX = 100


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """A schedule that somebody asks for, before it is checked.

    Its rhythm is one of `cron`, `every_s` and `at`; a moment without a zone is one in `zone`.
    """

    name: str
    agent: str
    input: dict[str, Any]
    cron: str | None = None
    every_s: int | None = None
    at: datetime | None = None
    zone: str = "UTC"
    job_class: JobClass = JobClass.DEFAULT
    model: str | None = None
    deadline_s: float | None = None
    jitter_s: float = 0.0
    catch_up: CatchUp = CatchUp.ONE
    catch_up_max: int = CATCH_UP_MAX
    overlap: Overlap = Overlap.SKIP
    is_paused: bool = False


class Diary(Protocol):
    """The schedules that one call may make or move. What is refused is told to the model."""

    @property
    def agent(self) -> str:
        """The agent of the job at hand."""
        ...

    def make(self, wish: ScheduleWish) -> dict[str, Any]:
        """Make a schedule on behalf of whoever asked for the job; the same call makes one."""
        ...

    def move_next(self, at: datetime) -> dict[str, Any]:
        """Move the next run of the schedule that made the job at hand; once."""
        ...

"""What the client raises, each named for what to do about it."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]


class StepwellError(Exception):
    """What was asked of the platform did not happen; the message is meant for a person."""


class Refused(StepwellError):
    """The platform answered no. `problem` is its RFC 9457 body."""

    def __init__(self, problem: Shape) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.code = str(problem.get("code", ""))
        super().__init__(str(problem.get("detail") or problem.get("title") or "refused"))


class Unreachable(StepwellError):
    """Nothing answered, or the platform cannot answer now."""


class NotFinished(StepwellError):
    """The time to wait is over and the job is not."""

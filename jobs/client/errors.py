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


class Overloaded(Refused):
    """The platform has no room for it now, or this tenant has its share of it waiting already.

    Nothing was created. After `retry_after_s` seconds the same request will be taken; until then,
    asking again only costs both sides.
    """

    def __init__(self, problem: Shape, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class Unreachable(StepwellError):
    """Nothing answered, or the platform cannot answer now."""


class NotFinished(StepwellError):
    """The time to wait is over and the job is not."""

"""Steering: a schedule acts for whoever made it, so not everybody may run, pause or delete it."""

from __future__ import annotations

from jobs.web.callers import Caller
from jobs.web.refusals import NotYours
from store.approvals import OPERATOR
from store.schedules import ScheduleRow


def check_may_steer(caller: Caller, row: ScheduleRow) -> None:
    """Raise `NotYours` for a schedule of somebody else, or of more roles."""
    if not caller.may_steer(row):
        raise NotYours(
            f"Schedule {row.name!r} was made by {row.requester or 'somebody unnamed'}. Its jobs "
            "act for them, with the roles they had. Let them ask, or somebody with the role "
            f"{OPERATOR}."
        )

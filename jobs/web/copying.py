"""Copying: a fork or a replay came to be as its original did, so not everybody may ask for one."""

from __future__ import annotations

from jobs.web.callers import Caller
from jobs.web.refusals import NotYours
from store.approvals import OPERATOR
from store.rows import JobRow


def check_may_copy(caller: Caller, job: JobRow) -> None:
    """Raise `NotYours` for a job of somebody else, of more roles, or that came by another door."""
    if not caller.may_copy(job):
        came_by = " > ".join([*job.origins_above, job.origin])
        raise NotYours(
            f"Job {job.id} was asked for by {job.requester or 'somebody unnamed'} and came by "
            f"{came_by}. A copy acts for them, with the roles they had, and may do what a job may "
            f"that came so. Let them ask, the same way, or somebody with the role {OPERATOR}."
        )


def check_may_copy_all(caller: Caller) -> None:
    """Raise `NotYours` for whoever may not act for others."""
    if not caller.is_operator:
        raise NotYours(
            f"Replaying many jobs at once acts for whoever asked for each. The role {OPERATOR} may."
        )

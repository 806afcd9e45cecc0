"""Bookkeeping: what was set aside for steps and jobs that ended without a commit goes back."""

from __future__ import annotations

import structlog

from store import budgets
from store.doors import Doors

log = structlog.get_logger(__name__)

# How many one round settles; the next round comes soon.
SETTLED_MAX = 200


def settle_budgets(doors: Doors) -> int:
    """Settle what nobody has settled, each in a transaction of its own; returns how many."""
    with doors.as_operator("look for budgets") as tx:
        found = budgets.list_unsettled(tx, limit=SETTLED_MAX)
    for each in found:
        with doors.as_operator("settle a budget") as tx:
            budgets.settle(tx, each)
    if found:
        log.debug("settled budgets", count=len(found))
    return len(found)

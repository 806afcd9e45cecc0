"""Waking: steps whose time has come, parents whose children are over, replays that are due.

Where there is somebody to say it, it is said at once: the worker that ends the last child wakes the
parent itself. What is left for the clock is what has no other voice, and what was cut short.
"""

from __future__ import annotations

import structlog

from store import due
from store.doors import Doors
from store.due import Due

log = structlog.get_logger(__name__)

# How many of each one round wakes; the next round comes soon.
WAKES_MAX = 500
WAKERS = {
    Due.TIMERS: due.wake_due,
    Due.CHILDREN: due.tell_parents,
    Due.REPLAYS: due.replay_due,
}


def wake(doors: Doors) -> int:
    """One round; returns how many steps and jobs were made ready."""
    with doors.as_operator("look") as tx:
        is_due = due.look(tx)
    woken = 0
    for what in is_due:
        # One that fails takes none of the others along.
        with doors.as_operator(what) as tx:
            woken += WAKERS[what](tx, WAKES_MAX)
    if woken:
        log.debug("woke", steps=woken)
    return woken

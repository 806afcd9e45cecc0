"""Waking: steps whose time has come, parents whose children are over, replays that are due.

Where there is somebody to say it, it is said at once: the worker that ends the last child wakes the
parent itself. What is left for the clock is what has no other voice, and what was cut short.
"""

from __future__ import annotations

import structlog

from store import due
from store.doors import Doors

log = structlog.get_logger(__name__)

# How many of each one round wakes; the next round comes soon.
WAKES_MAX = 500


def wake(doors: Doors) -> int:
    """One round; returns how many steps and jobs were made ready."""
    with doors.as_operator("wake") as tx:
        woken = due.wake_due(tx, WAKES_MAX)
    with doors.as_operator("wake") as tx:
        woken += due.tell_parents(tx, WAKES_MAX)
    with doors.as_operator("replay") as tx:
        woken += due.replay_due(tx, WAKES_MAX)
    if woken:
        log.debug("woke", steps=woken)
    return woken

"""Catching up: which of the ticks that have come are fired, and which are written down as missed.

Usually one tick has come, and it is fired. After a downtime there may be many:

    skip   what is more than a minute late is missed
    one    the last of them is fired for all
    all    each is fired, the oldest first, but for those before the last `catch_up_max`

A run of missed ticks is one move. However many there are, a round looks at a bounded number, and
goes on in the next one; the outcome is the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import assert_never

from scheduler.timetable import Timetable
from store.schedules import Move
from store.states import CatchUp

# What is no later than this is on time, whatever the policy.
GRACE = timedelta(seconds=60)
# How many ticks of one schedule a round looks at, and fires; more than any `catch_up_max`.
LOOK_MAX = 5_000
FIRES_MAX = 100


def plan_moves(
    timetable: Timetable, first: datetime, now: datetime, catch_up: CatchUp, catch_up_max: int
) -> list[Move]:
    """The moves of one schedule in this round, in order; `first` is its next tick."""
    come = list(islice(timetable.come(first, now), LOOK_MAX))
    if not come:
        return []
    are_more = len(come) == LOOK_MAX
    missed = _count_missed(timetable, come, now, catch_up, catch_up_max)
    # Where more have come than were looked at, the last ones are not known yet.
    fired = 0 if are_more and catch_up is not CatchUp.SKIP else FIRES_MAX
    ticks: list[datetime | None] = [*come, timetable.next_after(come[-1])]
    moves = [_move(timetable, come[0], come[missed - 1], ticks[missed], missed)] if missed else []
    return moves + [
        _move(timetable, tick_at, tick_at, following)
        for tick_at, following in list(zip(come, ticks[1:], strict=True))[missed : missed + fired]
    ]


def _count_missed(
    timetable: Timetable, come: list[datetime], now: datetime, catch_up: CatchUp, catch_up_max: int
) -> int:
    """How many of them, from the first on, are missed."""
    match catch_up:
        case CatchUp.SKIP:
            return sum(now - timetable.due_at(tick_at) > GRACE for tick_at in come)
        case CatchUp.ONE:
            return len(come) - 1
        case CatchUp.ALL:
            return max(0, len(come) - catch_up_max)
        case _:
            assert_never(catch_up)


def _move(
    timetable: Timetable,
    first: datetime,
    tick_at: datetime,
    following: datetime | None,
    missed: int = 0,
) -> Move:
    return Move(
        first=first,
        tick_at=tick_at,
        next_tick_at=following,
        next_at=None if following is None else timetable.due_at(following),
        missed=max(0, missed - 1),
        is_missed=missed > 0,
    )

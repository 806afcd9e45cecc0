"""The guards that every agent has, unless it declares one of the same name."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import Misdeclared
from jobs.guards.guard import EVERYWHERE, Guard
from jobs.guards.links import Links
from jobs.guards.loops import Loops
from jobs.guards.secrets import Secrets
from jobs.guards.sizes import Sizes
from jobs.guards.trust import Taint

# Sizes first, so that nothing without bounds is searched; taint last, as others may vouch.
BEFORE: tuple[Guard, ...] = (Sizes(), Secrets(), Loops(), Links())
AFTER: tuple[Guard, ...] = (Taint(),)


def with_shipped(agent: str, declared: Sequence[Guard]) -> tuple[Guard, ...]:
    """All guards of an agent in the order in which they look.

    Raises `Misdeclared` for two of one name, and for what is no guard.
    """
    for guard in declared:
        looks = getattr(guard, "stages", None)
        if not callable(getattr(guard, "check", None)) or not looks or not set(looks) <= EVERYWHERE:
            raise Misdeclared(
                f"{guard!r} of agent {agent!r} is not a guard: it has a name, stages and a check."
            )
    names = [guard.name for guard in declared]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Misdeclared(f"Agent {agent!r} has two guards named {', '.join(twice)}.")
    own = {guard.name: guard for guard in declared}
    before = tuple(own.pop(guard.name, guard) for guard in BEFORE)
    after = tuple(own.pop(guard.name, guard) for guard in AFTER)
    return (*before, *own.values(), *after)

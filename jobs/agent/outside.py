"""What a declaration says about what it calls outside of here, and about rate limits."""

from __future__ import annotations

import re
from typing import Literal, get_args

from jobs.errors import Misdeclared

OnRateLimit = Literal["dead_letter", "park"]


def check_dependency(name: str | None) -> None:
    """Raise `Misdeclared` unless it is a short word; it becomes a key and a label."""
    if name is not None and not re.fullmatch(r"[a-z][a-z0-9_.-]{0,39}", name):
        raise Misdeclared(
            f"{name!r} does not name a dependency. Write a word of up to 40 small letters, digits, "
            "dots, dashes and underscores, such as crm."
        )


def check_on_rate_limit(reaction: str | None) -> None:
    """Raise `Misdeclared` unless it is a reaction that there is."""
    if reaction is not None and reaction not in get_args(OnRateLimit):
        raise Misdeclared(f"{reaction!r} is none of {', '.join(get_args(OnRateLimit))}.")

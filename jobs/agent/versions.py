"""Versions: whose jobs a program may go on with, when its own code is no longer theirs."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import Misdeclared

# In `accepts`: the jobs of every earlier version.
ANY = "*"


def check_accepts(name: str, accepts: Sequence[str]) -> None:
    """Raise `Misdeclared` unless it is a list of versions."""
    # A lone string is a sequence too, of its letters.
    if isinstance(accepts, str) or not all(isinstance(each, str) and each for each in accepts):
        raise Misdeclared(
            f"{name!r} accepts {accepts!r}; write a list of versions, such as [{ANY!r}] for any."
        )


def is_accepted(version: str, *, own: str, accepts: Sequence[str]) -> bool:
    """Whether jobs that pin this version may go on with the code whose version is `own`."""
    return version == own or version in accepts or ANY in accepts

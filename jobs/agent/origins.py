"""Origins: through which doors a job must have come for a tool to be available to it."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.errors import Misdeclared
from store.invocation import Invocation
from store.states import Origin

EVERY_ORIGIN = frozenset(Origin)
# What a job that an agent asked for may do is decided by the doors above it, which it keeps.
ALWAYS = frozenset({Origin.AGENT})


def read_origins(given: Iterable[Origin | str] | None) -> frozenset[Origin]:
    """The doors that a declaration names; every one where it names none at all.

    Raises `Misdeclared` for a word that is no door, and for a tool that no job could ever call.
    """
    if given is None:
        return EVERY_ORIGIN
    if isinstance(given, str):
        raise Misdeclared(f"origins is a list of words, such as ({given!r},), not one text.")
    named = frozenset(map(_read_origin, given))
    if not named - ALWAYS:
        raise Misdeclared(
            "origins names no door that a job could come through first, so nobody could ever call "
            f"the tool. The doors are {_listed(EVERY_ORIGIN - ALWAYS)}."
        )
    return named | ALWAYS


def why_not_available(tool: str, origins: frozenset[Origin], invocation: Invocation) -> str | None:
    """Why a tool of these origins is not available to a job that came to be so; None when it is."""
    others = invocation.origins - origins
    if not others:
        return None
    return (
        f"The tool {tool!r} is not available to this job: the job, or one above it in its line, "
        f"came by {_listed(others)}, and the tool is for {_listed(origins - ALWAYS)} only."
    )


def _read_origin(given: Origin | str) -> Origin:
    try:
        return Origin(given)
    except ValueError:
        raise Misdeclared(f"{given!r} is none of the origins {_listed(EVERY_ORIGIN)}.") from None


def _listed(origins: Iterable[Origin]) -> str:
    return ", ".join(sorted(each.value for each in origins))

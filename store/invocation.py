"""Invocation: how a job came to be, which decides what it may do. Stamped once, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from store.states import Origin


@dataclass(frozen=True, slots=True)
class Invocation:
    """Who asked for a job, through which door, and from how deep in a line of jobs.

    `origins_above` are the doors of the jobs above it, that of the first one first. A child has the
    requester and the roles of its parent, and all of its origins: nothing is ever left behind.
    """

    origin: Origin
    root_id: UUID
    origins_above: tuple[Origin, ...] = ()
    parent_job_id: UUID | None = None
    requester: str | None = None
    roles: frozenset[str] = frozenset()

    @property
    def depth(self) -> int:
        """How many jobs stand above it; copies of a job stand where the original did."""
        return len(self.origins_above)

    @property
    def origins(self) -> frozenset[Origin]:
        """Every door that this line of jobs came through."""
        return frozenset((*self.origins_above, self.origin))

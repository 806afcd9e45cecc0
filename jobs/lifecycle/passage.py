"""Passage: one call through a gate, what it may take as far as is known, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from time import perf_counter

from broker.gates import Pass

# A clock that looks now and then may see the end of a time a little early.
NEARLY = 0.9


@dataclass(slots=True)
class Passage:
    """One call. `timeout_s` is when the watch gives it up, whoever makes it; `haste_s` is when its
    own job does, which is nobody else's fault."""

    granted: Pass
    timeout_s: float = inf
    haste_s: float = inf
    began_at: float | None = None
    first_s: float | None = None
    took_s: float | None = None

    def begin(self) -> None:
        """The call is made now."""
        self.began_at = perf_counter()

    def end(self, first_s: float | None = None) -> None:
        """The call has come back with a result."""
        self.first_s, self.took_s = first_s, self.lasts_s

    @property
    def lasts_s(self) -> float:
        return 0.0 if self.began_at is None else perf_counter() - self.began_at

    @property
    def is_overdue(self) -> bool:
        """Whether it was stopped for its time, and not for another reason."""
        return self.lasts_s >= self.timeout_s * NEARLY

    @property
    def is_cut_short(self) -> bool:
        """Whether it was given up in haste, before it took longer than such calls usually do."""
        return self.haste_s * NEARLY <= self.lasts_s < (self.granted.total_s or inf)

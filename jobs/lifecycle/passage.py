"""Passage: one call through a gate, what it may take as far as is known, and what it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

from broker.gates import Pass

# A clock that looks now and then may see the end of a time a little early.
NEARLY = 0.9
# A time of which this process itself was late for more than this part says nothing of others.
LATE_PART = 0.2


@dataclass(slots=True)
class Passage:
    """One call. `timeout_s` is when the watch gives it up, whoever makes it; `haste_s` is when its
    own job does, which is nobody else's fault. `late_s` is how late this process was, ever."""

    granted: Pass
    timeout_s: float = inf
    haste_s: float = inf
    late_s: Callable[[], float] = lambda: 0.0
    began_at: float | None = None
    late_before_s: float = 0.0
    first_s: float | None = None
    took_s: float | None = None

    def begin(self) -> None:
        """The call is made now."""
        self.began_at, self.late_before_s = perf_counter(), self.late_s()

    def end(self, first_s: float | None = None) -> None:
        """The call has come back with a result."""
        self.first_s, self.took_s = first_s, self.lasts_s

    def tells(self, seconds: float | None) -> bool:
        """Whether such a time is the other side's, and not for a good part our own lateness."""
        if seconds is None:
            return False
        return self.late_s() - self.late_before_s <= LATE_PART * seconds

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

    @property
    def is_theirs(self) -> bool:
        """Whether it takes so long by the other side's doing, and not by our haste or lateness."""
        return not self.is_cut_short and self.tells(self.lasts_s)

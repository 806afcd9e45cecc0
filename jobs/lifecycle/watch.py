"""Watch: which steps run here, and which of them overstay.

A thread cannot be killed, so a call that hangs is not waited for: its step is settled by the watch,
and when the call returns after all, its claim is settled already and its commit is refused. Its
slot is lost until then, which the log says. Who settles, the thread or the watch, is decided under
one lock, so that a step which ends at the very moment is settled once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from uuid import UUID

from store.transitions import Claim


@dataclass(slots=True)
class Running:
    """A step in a slot of this process. `give_up_at` is by this process's monotonic clock."""

    held: Claim
    give_up_at: float
    is_given_up: bool = False


class Watch:
    """The steps that run in this process."""

    def __init__(self) -> None:
        self._steps: dict[int, Running] = {}
        self._attempts = 0
        self._lock = Lock()

    @contextmanager
    def attempting(self) -> Iterator[None]:
        """Count an attempt from before its claim until its last step is settled."""
        with self._lock:
            self._attempts += 1
        try:
            yield
        finally:
            with self._lock:
                self._attempts -= 1

    @property
    def is_busy(self) -> bool:
        """Whether any attempt is under way, also one that is only claiming or settling."""
        return self._attempts > 0

    @contextmanager
    def over(self, held: Claim, timeout_s: float) -> Iterator[Running]:
        """Watch over a step while the block lasts."""
        running = Running(held, monotonic() + timeout_s)
        self._steps[id(running)] = running
        try:
            yield running
        finally:
            self._steps.pop(id(running), None)

    def finish(self, running: Running) -> bool:
        """Whether the thread that ran the step may settle it; False when the watch has done so."""
        with self._lock:
            if running.is_given_up:
                return False
            running.give_up_at = float("inf")
            return True

    def take_overdue(self) -> list[Running]:
        """The steps past their time that nobody has given up yet; each is returned once."""
        return self._take(monotonic())

    def take_all(self) -> list[Running]:
        """Every step that has not ended, for a worker that is leaving."""
        return self._take(float("inf"))

    def _take(self, before: float) -> list[Running]:
        with self._lock:
            taken = [
                step
                for step in list(self._steps.values())
                if step.give_up_at < before and not step.is_given_up
            ]
            for step in taken:
                step.is_given_up = True
        return taken

    def count(self, worker_id: UUID | None = None) -> int:
        """How many steps run here, under this incarnation or any."""
        steps = list(self._steps.values())
        return sum(1 for step in steps if worker_id is None or step.held.worker_id == worker_id)

"""Watch: which steps run here, in whose name, and which of them must not go on.

A step that overstays is not waited for: the watch settles it, and when its call returns after all,
its claim is settled already and its commit is refused. Who settles, the thread that runs the step
or the watch, is decided under one lock, so that a step which ends just then is settled once.

A step is claimed in the name of an incarnation. The watch knows which of them this process still
believes in; a step of any other may be somebody else's by now. It is not begun; one that has begun
is stopped by the clock (see `clock.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from uuid import UUID

from jobs.lifecycle.stopping import Call, Calling
from store.transitions import Claim

NOT_OURS = "its worker could not say that it was alive"


@dataclass(slots=True)
class Running:
    """A step in a slot of this process. `give_up_at` is by this process's monotonic clock."""

    held: Claim
    give_up_at: float
    is_given_up: bool = False
    # Why its call is to be stopped, if it is; the clock goes on trying.
    unwanted: str = ""
    call: Call = field(default_factory=Call)

    @property
    def is_in_hand(self) -> bool:
        """Whether its result is there and only waits to be kept."""
        return self.give_up_at == float("inf")


class Watch:
    """The steps that run in this process."""

    def __init__(self) -> None:
        self._steps: dict[int, Running] = {}
        self._attempts = 0
        self._believed: frozenset[UUID] = frozenset()
        self._lock = Lock()

    # -- attempts ---------------------------------------------------------------------------

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
    def attempts(self) -> int:
        """How many are under way, also those that are only claiming or settling: slots in use."""
        return self._attempts

    @property
    def is_busy(self) -> bool:
        return self._attempts > 0

    # -- steps ------------------------------------------------------------------------------

    @contextmanager
    def over(self, held: Claim, timeout_s: float) -> Iterator[Running]:
        """Watch over a step while the block lasts. Its call is refused if nobody believes in us."""
        running = Running(held, monotonic() + timeout_s)
        self._steps[id(running)] = running
        if held.worker_id not in self._believed:
            running.call.stop(NOT_OURS)
        try:
            with Calling(running.call):
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
        now = monotonic()
        return self.take(lambda step: step.give_up_at < now)

    def take(self, is_wanted: Callable[[Running], bool]) -> list[Running]:
        """The steps that have not ended, from now on the caller's to settle."""
        with self._lock:
            taken = [
                step
                for step in list(self._steps.values())
                if not (step.is_in_hand or step.is_given_up) and is_wanted(step)
            ]
            for step in taken:
                step.is_given_up = True
        return taken

    def count(self, worker_id: UUID | None = None) -> int:
        """How many steps run here, under this incarnation or any."""
        return sum(1 for step in self.steps() if worker_id in (None, step.held.worker_id))

    def steps(self) -> list[Running]:
        """Every step in a slot, whatever has become of it."""
        return list(self._steps.values())

    # -- incarnations -----------------------------------------------------------------------

    def believe(self, worker_id: UUID) -> None:
        """From here on, what is claimed in this name is ours."""
        with self._lock:
            self._believed |= {worker_id}

    def doubt(self, worker_id: UUID | None = None) -> None:
        """What was claimed in this name, or any, may be somebody else's."""
        with self._lock:
            self._believed = frozenset() if worker_id is None else self._believed - {worker_id}

    def to_stop(self) -> list[tuple[Running, str]]:
        """The steps that must not go on, each with the reason."""
        believed = self._believed
        unwanted = [
            (step, step.unwanted or (NOT_OURS if step.held.worker_id not in believed else ""))
            for step in self.steps()
        ]
        return [(step, why) for step, why in unwanted if why]

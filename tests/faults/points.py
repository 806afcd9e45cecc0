"""Points: the named moments in the life of a step at which a process can be made to stand still.

A point is armed by a file named after the job, before the job exists. A thread that comes to an
armed point says so in `reached` and waits for the job's gate; meanwhile the harness strikes
whatever it means to strike, at this very moment of this very step, and then opens the gate. A gate
opened with the word `cut` also loses the answer to the next statement that settles something.

A point holds a step once in each process. Only `before_claim` holds every delivery while the gate
is closed, or the next ring would get past it.

Nothing here is known to the product: `worker.py` puts these calls around the real functions.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from threading import local
from uuid import UUID

from tests.faults.ledger import append_line, read_lines

GATE_S_MAX = 90.0
LOOK_EVERY_S = 0.02


class Point(StrEnum):
    """The moments, in the order in which a step comes to them."""

    BEFORE_CLAIM = "before_claim"
    AFTER_CLAIM = "after_claim"
    BEFORE_EFFECT = "before_effect"
    AFTER_EFFECT = "after_effect"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    PARKING = "parking"
    PARKED = "parked"
    WAKING = "waking"
    JOINING = "joining"
    CANCELLING = "cancelling"


@dataclass(frozen=True, slots=True)
class Reached:
    """A thread that stands at a point; `at` is monotonic."""

    job: str
    seq: int
    point: Point
    pid: int
    at: float


class Board:
    """The folder by which the harness and the processes of a world agree on points and gates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed = folder / "armed"
        self._held = folder / "held"
        self._gates = folder / "gates"
        self._reached = folder / "reached"

    def prepare(self) -> None:
        for each in (self._armed, self._held, self._gates):
            each.mkdir(parents=True, exist_ok=True)

    # -- the harness's side -----------------------------------------------------------------

    def arm(self, job_id: UUID, point: Point, seqs: Sequence[int]) -> None:
        """Hold these steps of the job when they come to the point."""
        told = {"point": point.value, "seqs": list(seqs)}
        draft = self._armed / f".{job_id}"
        draft.write_text(json.dumps(told))
        draft.rename(self._armed / str(job_id))

    def open_gate(self, job_id: UUID, word: str = "go") -> None:
        """Let everybody pass who stands at this job's point, or comes to it."""
        draft = self._gates / f".{job_id}"
        draft.write_text(word)
        draft.rename(self._gates / str(job_id))

    def reached(self) -> list[Reached]:
        """Everybody who has come to a point so far, whether still there or not."""
        return [
            Reached(line["job"], line["seq"], Point(line["point"]), line["pid"], line["at"])
            for line in read_lines(self._reached)
        ]

    # -- the process's side -----------------------------------------------------------------

    def reach(self, point: Point, job_id: UUID, seq: int) -> str:
        """Stand here if this is an armed point; returns the word the gate was opened with."""
        if not self._is_armed(point, job_id, seq) or self._word_of(job_id):
            return ""
        if not self._is_first(job_id, seq) and point is not Point.BEFORE_CLAIM:
            return ""
        told = {"job": str(job_id), "seq": seq, "point": point.value, "pid": os.getpid()}
        append_line(self._reached, {**told, "at": time.monotonic()})
        return self._stand(job_id)

    def _is_armed(self, point: Point, job_id: UUID, seq: int) -> bool:
        try:
            told = json.loads((self._armed / str(job_id)).read_text())
        except FileNotFoundError:
            return False
        return told["point"] == point.value and seq in told["seqs"]

    def _is_first(self, job_id: UUID, seq: int) -> bool:
        try:
            os.close(
                os.open(self._held / f"{job_id}.{seq}.{os.getpid()}", os.O_CREAT | os.O_EXCL, 0o600)
            )
        except FileExistsError:
            return False
        return True

    def _stand(self, job_id: UUID) -> str:
        give_up_at = time.monotonic() + GATE_S_MAX
        while time.monotonic() < give_up_at:
            if word := self._word_of(job_id):
                return word
            time.sleep(LOOK_EVERY_S)
        return "late"

    def _word_of(self, job_id: UUID) -> str:
        try:
            return (self._gates / str(job_id)).read_text()
        except FileNotFoundError:
            return ""


# What the gate has told this thread to do at its next statement.
_orders = local()


@cache
def own_board() -> Board:
    """The board of the world this process belongs to."""
    return Board(Path(os.environ["FAULTS_FOLDER"]))


def stand(point: Point, job_id: UUID, seq: int) -> None:
    """Stand at the point if it is armed, and remember what the gate said."""
    if own_board().reach(point, job_id, seq) == "cut":
        _orders.is_cut = True


def take_order_to_cut() -> bool:
    """Whether this thread has to lose the answer to what it is about to ask; said once."""
    is_cut = getattr(_orders, "is_cut", False)
    _orders.is_cut = False
    return is_cut

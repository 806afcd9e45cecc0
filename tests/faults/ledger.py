"""The ledger: the world outside, as a file that is only ever appended to, a line an effect.

Every line is written by one `write` on a file opened for appending, so lines of many processes
never mix. Three files are kept in the same way, all of JSON lines:

    ledger   {phase, key, job, seq, tenant, tool, idempotency, pid, at, wall, what, args}
             phase `begin`: the call reached the other side; `end`: it has taken effect there.
             An effect happened when there is an `end`, however the call came back.
    claims   {job, seq, epoch, pid, at, how}
             a step began to run here; how is `claim`, or `inline` when a commit took it along.
    told     {job, seq, epoch, became, output}
             a worker was told by the store that what it made of the step was accepted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

# Kept before anybody skews the clock of this process.
_wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Effect:
    """A line of the ledger. `at` is monotonic, `wall` is the true time; both in seconds."""

    phase: Literal["begin", "end"]
    key: str
    job: str
    seq: int
    tenant: str
    tool: str
    idempotency: str
    pid: int
    at: float
    wall: float
    what: Any = None
    # What the tool was called with, where the call needs a yes.
    args: Any = None

    @property
    def job_id(self) -> UUID:
        return UUID(self.job)


@dataclass(frozen=True, slots=True)
class Began:
    """A step that began to run in some worker."""

    job: str
    seq: int
    epoch: int
    pid: int
    at: float
    how: Literal["claim", "inline"]


def append_line(path: Path, told: dict[str, Any]) -> None:
    """Add a line, whole, whoever else writes."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, (json.dumps(told, separators=(",", ":")) + "\n").encode())
    finally:
        os.close(file)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines written so far; one that is not whole yet is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def note_effect(
    path: Path,
    phase: Literal["begin", "end"],
    *,
    key: str,
    job_id: UUID | str,
    seq: int,
    tenant_id: UUID | str,
    tool: str,
    idempotency: str,
    what: Any = None,
    args: Any = None,
) -> None:
    """Write an effect's line into the ledger."""
    line = Effect(
        phase,
        key,
        str(job_id),
        seq,
        str(tenant_id),
        tool,
        idempotency,
        os.getpid(),
        time.monotonic(),
        _wall(),
        what,
        args,
    )
    append_line(path, asdict(line))


def note_begin(path: Path, job_id: UUID, seq: int, epoch: int, how: str) -> None:
    """Write that a step began to run in this process."""
    told = {"job": str(job_id), "seq": seq, "epoch": epoch, "pid": os.getpid()}
    append_line(path, {**told, "at": time.monotonic(), "how": how})


def note_told(path: Path, job_id: UUID, seq: int, epoch: int, became: str, output: Any) -> None:
    """Write that this process was told that its write was accepted."""
    told = {"job": str(job_id), "seq": seq, "epoch": epoch, "became": became, "output": output}
    append_line(path, told)


def read_effects(path: Path) -> list[Effect]:
    """Every effect so far, in the order it was written."""
    return [Effect(**line) for line in read_lines(path)]


def read_begins(path: Path) -> list[Began]:
    """Every beginning of a step so far, in the order it was written."""
    return [Began(**line) for line in read_lines(path)]


class Tail:
    """The lines of a file that have come since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield json.loads(line)


class Begun:
    """Which step each job has begun last, followed as the file grows."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._latest: dict[str, Began] = {}

    def latest(self) -> dict[str, Began]:
        """The newest beginning of each job, by its id as text."""
        for line in self._tail.read():
            self._latest[line["job"]] = Began(**line)
        return self._latest


class Happened:
    """Which effects have taken place, followed as the ledger grows."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._by_key: dict[str, Effect] = {}

    def find(self, key: str) -> Effect | None:
        """The effect under this key, if it took place."""
        for line in self._tail.read():
            if line["phase"] == "end":
                self._by_key[line["key"]] = Effect(**line)
        return self._by_key.get(key)

"""Run one function of ours in a child process that can do little else.

Files people upload and SQL a model writes are read by large C++ and C parsers. They run here: in a
fresh Python process with hard limits on memory, processor time, files and wall clock, without our
environment (and so without our secrets), in an empty folder of its own, and on Linux, where the
host permits, without a network and with no file in reach but those it was handed.

The child is started afresh each time, so that nothing of one tenant's table is left for the
next. That costs about 0.1 s, most of it the import of DuckDB.

How it ends is one of five things:

    Outcome                the function returned; its JSON value
    Refused                the function raised `jobs.datasets.errors.Refused` or a kind of it
    ConfinementError       it did not get that far:
    ├── TimedOut           the wall clock or the processor time ran out; everything in it is killed
    ├── OutOfMemory        it asked for more memory than it may have
    └── Crashed            it died, raised something else, or answered too much

The child belongs to the thread that started it: on Linux it dies with that thread, so that a
killed worker leaves nothing running. Its process group is killed in every case.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from jobs.confinement.follow import Ending, follow, start_child
from jobs.datasets import errors
from jobs.datasets.folders import scratch_folder

CELL = Path(__file__).with_name("cell.py")
MIB = 1024 * 1024


class ConfinementError(RuntimeError):
    """The confined child did not finish its errand."""


class TimedOut(ConfinementError):
    """It took longer than it may; the message says which clock."""


class OutOfMemory(ConfinementError):
    """It needed more memory than it may have."""


class Crashed(ConfinementError):
    """It died, raised something unexpected, or answered more than it may: a bug somewhere."""


@dataclass(frozen=True)
class Limits:
    """What one confined child may use."""

    wall_clock_s: float = 30.0
    cpu_s: int = 60
    memory_bytes: int = 2048 * MIB
    file_bytes: int = 2048 * MIB
    open_files: int = 128
    answer_bytes: int = 32 * MIB


@dataclass(frozen=True)
class Walls:
    """Which of the locks a host may lack were in place."""

    network: bool = False
    files: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a confined function returned, and what it took."""

    value: Any
    elapsed_s: float
    peak_memory_bytes: int
    walls: Walls = field(default_factory=Walls)


def run_confined(
    function: str,
    arguments: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    readable: Iterable[Path] = (),
    writable: Iterable[Path] = (),
) -> Outcome:
    """Run `module:name` with JSON `arguments` in a confined child and return its JSON value.

    `readable` and `writable` are files or folders the function may touch besides its own empty
    working folder. Raises `Refused` (or the kind of it the function raised), `TimedOut`,
    `OutOfMemory` or `Crashed`.
    """
    limits = limits or Limits()
    started = time.monotonic()
    with scratch_folder() as folder:
        order = {
            "function": function,
            "arguments": dict(arguments),
            "limits": asdict(limits),
            "readable": [str(path.resolve()) for path in readable],
            "writable": [str(folder), *(str(path.resolve()) for path in writable)],
            "parent_pid": os.getpid(),
        }
        answer = bytearray()

        def hear(data: bytes) -> bool:
            answer.extend(data)
            return False  # whatever it leaves running is waited for, and told as taking too long

        environment = _bare_environment(folder)
        with start_child(CELL, order, environment=environment, folder=folder, umask=0o077) as child:
            ending = follow(
                child,
                hear,
                give_up_at=started + limits.wall_clock_s,
                answer_bytes_max=limits.answer_bytes,
            )
    return _judge(ending, bytes(answer), limits, elapsed_s=time.monotonic() - started)


def _bare_environment(folder: Path) -> dict[str, str]:
    """Nothing of ours but what the loader may need; no keys, no passwords, no addresses.

    One memory arena instead of one a thread: each reserves address space, which is what is bounded.
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    home = str(folder)
    return kept | {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "1",
    }


def _judge(ending: Ending, said: bytes, limits: Limits, *, elapsed_s: float) -> Outcome:
    """Turn an ending into an outcome, or raise what it amounts to."""
    if ending.too_long:
        raise TimedOut(f"took longer than {limits.wall_clock_s:g} s")
    if ending.too_much:
        raise Crashed(f"answered more than {limits.answer_bytes:,} bytes")
    try:
        answer = json.loads(said)
    except ValueError:
        _explain_death(ending, limits)
    if "value" not in answer:
        _raise_what_it_said(answer, limits)
    return Outcome(
        value=answer["value"],
        elapsed_s=elapsed_s,
        peak_memory_bytes=answer["peak_memory_bytes"],
        walls=Walls(**answer["walls"]),
    )


def _raise_what_it_said(answer: Mapping[str, Any], limits: Limits) -> NoReturn:
    if "refused" in answer:
        kind = getattr(errors, answer["refused"]["kind"], errors.Refused)
        raise kind(answer["refused"]["message"])
    if "out_of_memory" in answer:
        raise OutOfMemory(_memory_message(limits))
    raise Crashed(answer["failed"])


def _explain_death(ending: Ending, limits: Limits) -> NoReturn:
    """A child that said nothing: what the exit code and its last words tell."""
    if ending.exit_code == -signal.SIGXCPU:
        raise TimedOut(f"used more than {limits.cpu_s} s of processor time")
    if ending.exit_code == -signal.SIGKILL:  # not by us: the system was out of memory, or a limit
        raise OutOfMemory("was killed by the system, most likely for want of memory")
    if ending.ran_out_of_memory:
        raise OutOfMemory(_memory_message(limits))
    last_words = ending.last_words[-1000:] or "no last words"
    raise Crashed(f"ended with code {ending.exit_code}: {last_words}")


def _memory_message(limits: Limits) -> str:
    return f"needed more than the {limits.memory_bytes // MIB:,} MiB of memory it may have"

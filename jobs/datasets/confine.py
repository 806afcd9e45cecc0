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
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from jobs.datasets import errors
from jobs.datasets.folders import scratch_folder

CELL = Path(__file__).with_name("cell.py")
MIB = 1024 * 1024
PIPE_READ_BYTES = 256 * 1024
STDERR_BYTES_KEPT = 8 * 1024


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
        with _start_child(folder, order) as child:
            ending = _follow(child, limits, deadline=started + limits.wall_clock_s)
    return _judge(ending, limits, elapsed_s=time.monotonic() - started)


@dataclass
class _Ending:
    """How the child ended, before anyone has judged it."""

    answer: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    too_long: bool = False
    too_much: bool = False


def _start_child(folder: Path, order: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the child with its order on a file as standard input, so that no pipe can fill up."""
    order_file = folder / "order.json"
    order_file.write_text(json.dumps(order), encoding="utf-8")
    try:
        with order_file.open("rb") as stdin:
            return subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", str(CELL)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=_bare_environment(folder),
                start_new_session=True,
                umask=0o077,
            )
    finally:
        order_file.unlink()


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


def _follow(child: subprocess.Popen[bytes], limits: Limits, *, deadline: float) -> _Ending:
    """Read until the child is gone, says too much or takes too long; then end all of it.

    Its stderr closes only when it exits, so killing the group afterwards cannot change its code.
    """
    ending = _Ending()
    try:
        _read_until_closed(child, ending, limits.answer_bytes, deadline)
    finally:
        _kill_group(child)  # before it is reaped, while its number can mean nobody else
    ending.exit_code = child.wait()
    return ending


def _read_until_closed(
    child: subprocess.Popen[bytes], ending: _Ending, answer_bytes_max: int, deadline: float
) -> None:
    answer: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        for stream in filter(None, (child.stdout, child.stderr)):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and not ending.too_much:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                ending.too_long = True
                return
            for key, _ in ready:
                data = os.read(key.fd, PIPE_READ_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stdout:
                    answer.append(data)
                    size += len(data)
                    ending.too_much = size > answer_bytes_max
                else:
                    ending.stderr = (ending.stderr + data)[-STDERR_BYTES_KEPT:]
    ending.answer = b"".join(answer)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started; all of it is in a session of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _judge(ending: _Ending, limits: Limits, *, elapsed_s: float) -> Outcome:
    """Turn an ending into an outcome, or raise what it amounts to."""
    if ending.too_long:
        raise TimedOut(f"took longer than {limits.wall_clock_s:g} s")
    if ending.too_much:
        raise Crashed(f"answered more than {limits.answer_bytes:,} bytes")
    try:
        answer = json.loads(ending.answer)
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


def _explain_death(ending: _Ending, limits: Limits) -> NoReturn:
    """A child that said nothing: what the exit code and its last words tell."""
    last_words = ending.stderr.decode("utf-8", "replace").strip()
    if ending.exit_code == -signal.SIGXCPU:
        raise TimedOut(f"used more than {limits.cpu_s} s of processor time")
    if "bad_alloc" in last_words or "MemoryError" in last_words:
        raise OutOfMemory(_memory_message(limits))
    if ending.exit_code == -signal.SIGKILL:  # not by us: the system was out of memory, or a limit
        raise OutOfMemory("was killed by the system, most likely for want of memory")
    raise Crashed(f"ended with code {ending.exit_code}: {last_words[-1000:] or 'no last words'}")


def _memory_message(limits: Limits) -> str:
    return f"needed more than the {limits.memory_bytes // MIB:,} MiB of memory it may have"

"""Child processes that do not outlive us, and the traces of those that did.

A child is tied to us twice.

1. On Linux the kernel signals it when we die, however we die (`setpriv --pdeathsig`). The signal
   is sent when the *thread* that started the child ends, not the process, so every child is
   started from one thread that lives as long as the process. The kernel forgets the wish when a
   process changes its user, so it is expressed after any change of user. And it does not grant a
   wish that comes too late, so the child then looks whether its parent is still us, and only then
   becomes the program.
2. Where there is no `setpriv` (macOS), a child leaves a trace: a file with its pid and the time it
   was started. The next owner of the folder ends what the trace points to, if pid and start time
   still belong together: a pid alone may have been given to a stranger since.

Every child leads a session of its own: Ctrl-C in the terminal reaches us alone and we decide the
order, and whatever the child starts can be ended with it, by its process group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL_S = 0.01

Steps = Sequence[tuple[signal.Signals, float]]

_UNLESS_ORPHANED = 'test "$PPID" = "$0" && exec "$@"'

_nursery = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nursery")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A process seen alive: `started` tells it from a later one with the same pid."""

    pid: int
    started: str
    command: str


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    become: Sequence[str] = (),
    dies_by: signal.Signals = signal.SIGKILL,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session that gets the signal `dies_by` when we are gone.

    `become` are words that change the user and go on in the same process, before all others. The
    pid is that of the program itself. Raises `OSError` when there is nothing to execute.
    """
    start = _nursery.submit(
        subprocess.Popen,
        [*become, *tie(dies_by), *map(str, command)],
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    return start.result()


def tie(dies_by: signal.Signals) -> list[str]:
    """The words before a command that tie its life to ours, where the system has them."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or not sys.platform.startswith("linux"):
        return []
    wish = [setpriv, "--pdeathsig", dies_by.name.removeprefix("SIG"), "--"]
    return [*wish, "/bin/sh", "-c", _UNLESS_ORPHANED, str(os.getpid())]


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and all it has started; nothing happens when they are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_child(process: subprocess.Popen[bytes], steps: Steps) -> None:
    """Send a child the signals in turn until it has ended, waiting so many seconds after each."""
    for number, patience_s in steps:
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def end(pid: int, steps: Steps) -> bool:
    """Send the signals in turn until the process is gone, waiting so many seconds after each.

    For processes that are not our children, or are waited for elsewhere. True once it is gone.
    """
    seen = look_at(pid)
    for number, patience_s in steps:
        if seen is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while is_alive(seen) and time.monotonic() < deadline:
            # It may be no child of ours, whose end nobody tells us of; the deadline bounds it.
            time.sleep(POLL_S)
        seen = seen if is_alive(seen) else None
    return seen is None


def is_alive(seen: Sighting) -> bool:
    now = look_at(seen.pid)
    return now is not None and now.started == seen.started


def look_at(pid: int) -> Sighting | None:
    """Look whether a process lives; None when it is gone, or dead and not yet collected."""
    if sys.platform.startswith("linux"):
        return _look_in_proc(pid)
    return _ask_ps(pid)


def _look_in_proc(pid: int) -> Sighting | None:
    try:
        # The name, in brackets, may hold anything; the fields after it are plain.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return None
    state, started = fields[0], fields[19]
    if state in "ZX":
        return None
    return Sighting(pid, started, command.decode(errors="replace"))


def _ask_ps(pid: int) -> Sighting | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=,command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    ).stdout.split(maxsplit=6)
    if len(answer) < 7 or answer[0].startswith("Z"):
        return None
    return Sighting(pid, " ".join(answer[1:6]), answer[6])


class Trace:
    """A file that tells the next owner of the folder which process we left behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, pid: int) -> None:
        seen = look_at(pid)
        if seen is not None:
            self._path.write_text(f"{pid} {seen.started}\n")

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def read(self) -> Sighting | None:
        """The process this trace points to, if it still lives."""
        try:
            pid, _, started = self._path.read_text().strip().partition(" ")
            seen = look_at(int(pid))
        except (OSError, ValueError):
            return None
        return seen if seen is not None and seen.started == started else None

    def end_leftover(self, patience_s: float = 5.0) -> None:
        """End what the last owner left running, politely first, with all it started."""
        left = self.read()
        if left is not None:
            end(left.pid, [(signal.SIGTERM, patience_s)])
            signal_group(left.pid, signal.SIGKILL)
        self.clear()

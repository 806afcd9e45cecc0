"""Keep a set of child processes running: start, watch, start again, stop together.

The life of a child, each in a thread of its own:

    started --ready--> running --exits--> waiting --> started ...
       |                                     |
       +-- exits before it was ever ready    +-- restarts_max exits in a row, none of which came
                                                 after stable_after_s of running
    = given up, with its last lines kept for the message

The wait before a restart doubles from `restart_delay_s` up to `restart_delay_max_s`. An essential
child given up brings the platform down; any other is only missed. Asked to stop, all children get
SIGTERM at once, and those still there after their `stop_timeout_s` are killed, each with whatever
it had started.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from jobs.platform.logs import MergedLog, plain
from store.hosting import offspring
from store.hosting.errors import CannotRun

LINE_BYTES_MAX = 64 * 1024
LINES_KEPT = 15
PROBE_TIMEOUT_S = 2.0
PROBE_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running, and how to tell that it is ready.

    `env` is its whole environment. It is ready once it has printed a line holding `ready_line`
    and `ready_url` answers 200; one of the two may be left out. Raises `ValueError` without any:
    a process that merely exists may be about to crash.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    ready_line: str | None = None
    ready_url: str | None = None
    essential: bool = True
    stop_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.ready_line is None and self.ready_url is None:
            raise ValueError(f"{self.name} needs a ready_line or a ready_url")


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often, and how soon, a child that exits is started again."""

    restart_delay_s: float = 0.2
    restart_delay_max_s: float = 10.0
    restarts_max: int = 12
    stable_after_s: float = 30.0

    def delay_s(self, exits_in_a_row: int) -> float:
        return min(self.restart_delay_max_s, self.restart_delay_s * 2.0 ** (exits_in_a_row - 1))


class KeptChild:
    """One child and the thread that keeps it running."""

    def __init__(
        self,
        child: Child,
        log: MergedLog,
        trace: offspring.Trace,
        policy: RestartPolicy,
        on_change: Callable[[], None],
    ) -> None:
        self.child = child
        self.given_up = threading.Event()
        self._log = log
        self._trace = trace
        self._policy = policy
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._process_lock = threading.Lock()
        self._stopping = threading.Event()
        self._line_seen = threading.Event()
        self._was_ready = False
        self._last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._thread = threading.Thread(target=self._keep, name=f"keep-{child.name}", daemon=True)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def last_lines(self) -> str:
        return "\n".join(self._last_lines)

    def start(self) -> None:
        self._trace.end_leftover()
        self._thread.start()

    def is_ready(self) -> bool:
        """Look whether it is ready, or was once; asks its URL at most once."""
        if not self._was_ready and self.pid is not None:
            said = self.child.ready_line is None or self._line_seen.is_set()
            self._was_ready = said and (
                self.child.ready_url is None or _answers_ok(self.child.ready_url)
            )
        return self._was_ready

    def ask_to_stop(self) -> None:
        with self._process_lock:
            self._stopping.set()
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def kill(self) -> None:
        with self._process_lock:
            self._stopping.set()
            if self._process is not None and self._process.poll() is None:
                offspring.signal_group(self._process.pid, signal.SIGKILL)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the child and its thread; False when they are still there."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- the thread -------------------------------------------------------------------------

    def _keep(self) -> None:
        exits_in_a_row = 0
        while not self._stopping.is_set():
            ran_s, how = self._run_once()
            if self._stopping.is_set():
                return
            exits_in_a_row = 1 if ran_s >= self._policy.stable_after_s else exits_in_a_row + 1
            if not self._was_ready or exits_in_a_row > self._policy.restarts_max:
                self._say(f"{how}; given up")
                self.given_up.set()
                return
            delay_s = self._policy.delay_s(exits_in_a_row)
            self._say(f"{how}; starting again in {delay_s:.1f} s")
            self._stopping.wait(delay_s)

    def _run_once(self) -> tuple[float, str]:
        started = time.monotonic()
        try:
            process = self._spawn()
        except OSError as error:
            return 0.0, f"cannot be started: {error}"
        if process is None:
            return 0.0, "not started"
        self._on_change()
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        code = process.wait()
        # What it had started would hold its output, its ports and its memory.
        offspring.signal_group(process.pid, signal.SIGKILL)
        reader.join(timeout=2.0)
        self._trace.clear()
        return time.monotonic() - started, _exit_in_words(code)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._process_lock:
            if self._stopping.is_set():
                return None
            self._process = offspring.spawn(
                self.child.command, env=self.child.env, stdout=subprocess.PIPE
            )
            self._trace.write(self._process.pid)
            return self._process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - narrows the type, cannot fail
        with process.stdout as output:
            while line := output.readline(LINE_BYTES_MAX):
                self._hear(line.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        line = plain(line)
        if not line:
            return
        self._last_lines.append(line)
        if self.child.ready_line is not None and self.child.ready_line in line:
            self._line_seen.set()
        self._log.write(self.child.name, line)

    def _say(self, message: str) -> None:
        self._log.write(self.child.name, f"[{message}]")


class Supervisor:
    """All children of the platform."""

    def __init__(
        self,
        log: MergedLog,
        trace_folder: Path,
        *,
        policy: RestartPolicy | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._trace_folder = trace_folder
        self._policy = policy or RestartPolicy()
        self._on_change = on_change
        self._kept: list[KeptChild] = []

    def start(self, children: Sequence[Child]) -> None:
        """Start more children; they are kept running until `stop`."""
        for child in children:
            trace = offspring.Trace(self._trace_folder / f"{child.name}.process")
            kept = KeptChild(child, self._log, trace, self._policy, self._on_change)
            self._kept.append(kept)
            kept.start()

    def await_ready(self, timeout_s: float, asked_to_stop: threading.Event) -> bool:
        """Wait until all children are ready; False when asked to stop before that.

        Raises `CannotRun`, quoting its last lines, for the first child that exits or is late.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.check()
            late = [kept for kept in self._kept if not kept.is_ready()]
            if not late:
                return True
            if time.monotonic() > deadline:
                raise CannotRun(_late_in_words(late[0], timeout_s))
            if asked_to_stop.wait(PROBE_EVERY_S):
                return False

    def check(self) -> None:
        """Raises `CannotRun`, quoting its last lines, when an essential child was given up."""
        for kept in self._kept:
            if kept.child.essential and kept.given_up.is_set():
                raise CannotRun(
                    f"{kept.child.name} does not run; its last lines:\n{kept.last_lines}"
                )

    def pids(self) -> dict[str, int]:
        """The pid of each child that runs now."""
        return {kept.child.name: pid for kept in self._kept if (pid := kept.pid) is not None}

    def stop(self) -> None:
        """Stop all children, politely, in parallel, then by force. Safe to call twice."""
        for kept in self._kept:
            kept.ask_to_stop()
        asked = time.monotonic()
        # The most patient last, so that each is killed when its own time is over.
        for kept in sorted(self._kept, key=lambda kept: kept.child.stop_timeout_s):
            if not kept.join(max(0.0, asked + kept.child.stop_timeout_s - time.monotonic())):
                self._log.write(kept.child.name, "[did not stop in time; killed]")
                kept.kill()
        for kept in self._kept:
            kept.join(timeout_s=5.0)

    def kill(self) -> None:
        """Kill all children at once; `stop` has still to be called, or still going on."""
        for kept in self._kept:
            kept.kill()


def _late_in_words(kept: KeptChild, timeout_s: float) -> str:
    said = kept.last_lines or "(it said nothing)"
    return f"{kept.child.name} is not ready after {timeout_s:g} s; its last lines:\n{said}"


def _exit_in_words(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended by signal {-code}"


def _answers_ok(url: str) -> bool:
    parts = urlsplit(url)
    # Not urllib: a proxy named in the environment has no business on the loopback.
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=PROBE_TIMEOUT_S
    )
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

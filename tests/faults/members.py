"""The processes of a world: each with a log, started again when they die, ended by their pid."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread
from time import monotonic

from store.hosting import offspring

ROOT = Path(__file__).parents[2]
START_S_MAX = 60.0
LOOK_EVERY_S = 0.05
RESTARTS_MAX = 2000

COMMANDS = {
    "worker": ("-m", "tests.faults.worker"),
    "scheduler": ("-m", "scheduler"),
    "proxy": ("-m", "tests.faults.proxy"),
}


@dataclass
class Member:
    """One place in the crew, and the process that has it now."""

    name: str
    kind: str
    words: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    is_frozen: bool = False
    # Which process began to be here, or ceased to, and when; monotonic.
    started: list[tuple[int, float]] = field(default_factory=list)
    departed: list[tuple[int, float]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}-{self.starts}.log"

    @property
    def is_ready(self) -> bool:
        return self.is_running and f"{self.kind} ready" in self.said()

    def wait_until_ready(self) -> None:
        until(lambda: self.is_ready, START_S_MAX, lambda: self.said()[-2000:])

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def start(self) -> None:
        self.starts += 1
        self.is_frozen = False
        with self.log.open("wb") as out:
            self.process = offspring.spawn(
                [sys.executable, *COMMANDS[self.kind], *self.words],
                env=self.env,
                cwd=ROOT,
                stdout=out,
            )
        self.started.append((self.pid, monotonic()))

    def kill(self) -> None:
        """kill -9; the place is filled again by whoever keeps it."""
        if self.process is not None:
            self.departed.append((self.pid, monotonic()))
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        if self.process is not None:
            self.is_frozen = True
            self.departed.append((self.pid, monotonic()))
            self.process.send_signal(signal.SIGSTOP)

    def ask_to_leave(self) -> None:
        """SIGTERM: it drains, and then its place is filled again."""
        if self.process is not None:
            self.departed.append((self.pid, monotonic()))
            self.process.send_signal(signal.SIGTERM)

    def thaw(self) -> None:
        if self.process is not None:
            self.is_frozen = False
            self.process.send_signal(signal.SIGCONT)


class Crew:
    """Keeps its members running until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.members: dict[str, Member] = {}
        self.restarts = 0
        self._stop = Event()
        self._lock = RLock()
        self._thread = Thread(target=self._keep, name="crew", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def join(self, kind: str, number: int, env: dict[str, str], *words: str) -> Member:
        """Start a member; it is kept from here on."""
        member = Member(f"{kind}{number}", kind, words, env, self.folder)
        with self._lock:
            member.start()
            self.members[member.name] = member
        return member

    def leave(self, member: Member) -> None:
        """End a member for good."""
        with self._lock:
            del self.members[member.name]
            member.kill()

    def of(self, kind: str) -> list[Member]:
        return [each for each in list(self.members.values()) if each.kind == kind]

    def by_pid(self, pid: int) -> Member | None:
        return next((each for each in self.members.values() if each.pid == pid), None)

    def wait_until_ready(self) -> None:
        """Wait until everybody is at work; raises `TimeoutError` with what the first one said."""
        for member in list(self.members.values()):
            if member.kind != "proxy":
                member.wait_until_ready()

    def end(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for member in self.members.values():
            member.kill()

    def _keep(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            with self._lock:
                for member in self.members.values():
                    if not member.is_running and self.restarts < RESTARTS_MAX:
                        self.restarts += 1
                        member.start()


def until(
    condition: Callable[[], object], timeout_s: float, told: Callable[[], str] = lambda: ""
) -> None:
    """Wait for the condition; raises `TimeoutError` with what is told then."""
    pause, looks = Event(), int(timeout_s / LOOK_EVERY_S)
    for _ in range(looks):
        if condition():
            return
        pause.wait(LOOK_EVERY_S)
    raise TimeoutError(f"not within {timeout_s:.0f} s: {told()}")

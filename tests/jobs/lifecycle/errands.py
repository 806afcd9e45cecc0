"""The tools that the tests of errands run in child processes, from the harmless to the hostile."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs import AskUser, Sleep, ToolContext, ToolFailed, tool

MIB = 1024 * 1024


class Point(BaseModel):
    """A place."""

    x: float
    day: date


class Asked(BaseModel):
    """What the job of these tools was asked."""

    words: list[str]


errand = functools.partial(tool, effect="read", process=True, timeout_s=30)


@errand()
def echo(value: Any) -> Any:
    """Return it."""
    return value


@errand()
def move(at: Point, by: float = 1.0) -> Point:
    """Move it."""
    assert isinstance(at, Point)
    return Point(x=at.x + by, day=at.day)


@errand()
def place(at: Point) -> str:
    """Where that is."""
    assert isinstance(at, Point)
    return f"{at.x} on {at.day:%A}"


@errand()
def introduce(ctx: ToolContext, greeting: str) -> dict[str, Any]:
    """Say what it knows of its call."""
    assert isinstance(ctx.input, Asked)
    return {
        "greeting": greeting,
        "key": ctx.key,
        "tenant": str(ctx.tenant_id),
        "job": str(ctx.job_id),
        "seq": ctx.seq,
        "words": ctx.input.words,
    }


@errand()
def count_down(ctx: ToolContext, note: str) -> int:
    """Tell how far it is, and go on only when somebody has heard."""
    ctx.progress("three", 0.25)
    print("what is printed is not told")
    wait_until(lambda: Path(note).exists())
    ctx.progress("two")
    return 2


@errand(name="chatter_box")
def chatter() -> str:
    """Say much, answer little."""
    print("this is not the answer")
    os.write(1, b'{"value": "nor this"}\n')
    print("last words", file=sys.stderr)
    sys.stdout.close()
    return "the answer"


def plain(value: int) -> int:
    """Twice as much."""
    return value * 2


declared_elsewhere = errand(name="twice")(plain)


@errand()
def fail_politely() -> None:
    """Say no."""
    raise ToolFailed("There is no such order.")


class Unheard(ConnectionRefusedError):
    """An error only this module has."""


RAISES: dict[str, Callable[[], BaseException]] = {
    "refused": lambda: ConnectionRefusedError(111, "Connection refused"),
    "timeout": lambda: TimeoutError("the other side is silent"),
    "key": lambda: KeyError("A-17"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "gaierror": lambda: socket.gaierror(-2, "Name or service not known"),
    "own": lambda: Unheard("nobody there"),
    "bare": lambda: Exception("just that"),
    "exit": lambda: SystemExit(3),
}


@errand()
def fail(how: str) -> None:
    """Raise it."""
    raise RAISES[how]()


@errand()
def use_artifacts(ctx: ToolContext) -> None:
    """Try to keep a file."""
    ctx.artifacts.save("a.txt", "text/plain", b"")


@errand()
def ask() -> AskUser | Sleep:
    """Try to wait."""
    return AskUser("Really?")


@errand()
def return_something_else() -> Any:
    """Return what is no JSON."""
    return object()


@errand(timeout_s=2.5)
def hang(note: str) -> None:
    """Leave a child behind, and never come back."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(f"{note}.new").write_text(f"{os.getpid()} {left.pid}")
    os.rename(f"{note}.new", note)
    time.sleep(60)


@errand()
def hang_long(note: str) -> None:
    """Never come back for longer."""
    hang.function(note)


@errand(timeout_s=2.5)
def chatter_forever(ctx: ToolContext) -> None:
    """Say how far it is, and never get there."""
    while True:
        ctx.progress("still at it")


@errand()
def leave_behind(note: str) -> str:
    """Answer, with a process and a thread of it still running."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(note).write_text(str(left.pid))
    return "done"


@errand(memory_bytes_max=256 * MIB)
def eat(megabytes: int) -> int:
    """Take memory."""
    return len(bytearray(megabytes * MIB))


@errand()
def say_a_lot(characters: int) -> str:
    """Return much."""
    return "x" * characters


@errand()
def die(number: int) -> None:
    """Die by a signal."""
    os.kill(os.getpid(), number)
    signal.pause()


@errand()
def crash() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


@errand()
def leave_without_a_word() -> None:
    """End the process."""
    os._exit(3)


@errand()
def look_around() -> dict[str, Any]:
    """What it has been given."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "leads": os.getsid(0) == os.getpid(),
        "stdin": sys.stdin.read(),
    }


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """A bounded wait inside the child, where there is nobody to tell it."""
    give_up_at = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)

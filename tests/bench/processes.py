"""The processes a benchmark needs: started with a log, waited for, ended by their own pid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

START_S_MAX = 60.0
LOOK_EVERY_S = 0.02


@contextmanager
def running(
    name: str, command: list[str], folder: Path, environment: dict[str, str], ready: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process (`command` follows the interpreter) whose log says `ready`."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        try:
            until(lambda: ready in log.read_text("utf-8", "replace"), START_S_MAX, f"{name}: {log}")
            yield process
        finally:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for the condition; raises `TimeoutError` naming what did not come."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"it took longer than {seconds:.0f} s: {what}")
        time.sleep(LOOK_EVERY_S)


def resident_mb(pid: int) -> float:
    """The most memory the process has had resident so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")

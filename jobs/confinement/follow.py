"""Start a child process with an order, follow it to its end, and leave nothing of it behind.

The child is a script of ours in a fresh Python. Its order is one JSON object on standard input;
what it answers comes on standard output; what else it says, on standard error. It leads a process
group of its own, which is killed in every case: also when it has answered, and may have left
something running.

The child belongs to the thread that started it: on Linux, a child that asks for it dies with that
thread (see `locks.die_with_parent`), so that a killed worker leaves nothing running.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PIPE_READ_BYTES = 256 * 1024
STDERR_BYTES_KEPT = 8 * 1024
# How soon a child is killed after somebody said so.
STOP_SEEN_WITHIN_S = 0.1


class Stop(Protocol):
    """Says whether the child is to be killed early; a `threading.Event` does."""

    def is_set(self) -> bool: ...


@dataclass
class Ending:
    """How a child ended, before anyone has judged it. `exit_code` is below 0 for a signal."""

    stderr: bytes = b""
    exit_code: int = 0
    too_long: bool = False
    too_much: bool = False
    is_stopped: bool = False

    @property
    def last_words(self) -> str:
        return self.stderr.decode("utf-8", "replace").strip()

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether a child that did not answer said that it wanted more memory."""
        return "bad_alloc" in self.last_words or "MemoryError" in self.last_words


def start_child(
    script: Path,
    order: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """Start the script with its order, in `folder` or in ours.

    The order lies in a file that has no name, so that no pipe can fill up and nobody else read it.
    """
    with tempfile.TemporaryFile(dir=folder) as stdin:
        stdin.write(json.dumps(order).encode())
        stdin.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", str(script)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            umask=umask,
        )


def follow(
    child: subprocess.Popen[bytes],
    hear: Callable[[bytes], bool],
    *,
    give_up_at: float,
    answer_bytes_max: int,
    stop: Stop | None = None,
    overhear: Callable[[bytes], object] | None = None,
) -> Ending:
    """Read until the child is gone, is done, says too much or takes too long; then end all of it.

    `hear` is given what comes on standard output and answers whether that was the end of it;
    `overhear` what comes on standard error. `give_up_at` is by the monotonic clock. Its stderr
    closes only when it exits, so killing the group afterwards cannot change its code.
    """
    ending, size = Ending(), 0
    try:
        for stream, data in _listen(child, ending, give_up_at, stop):
            if stream is child.stderr:
                ending.stderr = (ending.stderr + data)[-STDERR_BYTES_KEPT:]
                if overhear is not None:
                    overhear(data)
                continue
            size += len(data)
            ending.too_much = size > answer_bytes_max
            if not ending.too_much and hear(data):
                break
    finally:
        kill_group(child)  # before it is reaped, while its number can mean nobody else
        ending.exit_code = child.wait()
    return ending


def _listen(
    child: subprocess.Popen[bytes], ending: Ending, give_up_at: float, stop: Stop | None
) -> Iterator[tuple[object, bytes]]:
    """What the child says and where, until it has closed both streams or has to be ended."""
    with selectors.DefaultSelector() as selector:
        for stream in filter(None, (child.stdout, child.stderr)):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and _may_go_on(ending, give_up_at, stop):
            ready = [key for key, _ in selector.select(_patience_s(give_up_at, stop))]
            # What it said before its answer is heard before it.
            for key in sorted(ready, key=lambda key: key.fileobj is child.stdout):
                data = os.read(key.fd, PIPE_READ_BYTES)
                if data:
                    yield key.fileobj, data
                else:
                    selector.unregister(key.fileobj)


def _may_go_on(ending: Ending, give_up_at: float, stop: Stop | None) -> bool:
    """Whether to listen on; notes in the ending why not."""
    ending.is_stopped = stop is not None and stop.is_set()
    ending.too_long = time.monotonic() >= give_up_at
    return not (ending.too_much or ending.is_stopped or ending.too_long)


def _patience_s(give_up_at: float, stop: Stop | None) -> float:
    left_s = max(0.0, give_up_at - time.monotonic())
    return left_s if stop is None else min(left_s, STOP_SEEN_WITHIN_S)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started; all of it is in a session of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)

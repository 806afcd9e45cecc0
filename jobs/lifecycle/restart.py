"""Restart: begin this program again in the same process, but not for ever.

The new program has the old one's process id, arguments, environment and output, so whoever started
or watches it need not know. What it must know of its past, the moments of its restarts, goes along
in the environment; the system's monotonic clock outlives the program.
"""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import NoReturn

import structlog

log = structlog.get_logger("worker")

RESTARTS_MAX = 3
RESTARTS_WITHIN_S = 600.0
# "process id:moment,moment": a child that inherits the environment has no such past.
MEMORY = "STEPWELL_WORKER_RESTARTED"


def may_restart() -> bool:
    """Whether there were fewer restarts lately than are allowed."""
    return len(_recent()) < RESTARTS_MAX


def restart() -> NoReturn:
    """Replace this program by a new run of it. Threads, connections and open files end here."""
    moments = [*_recent(), monotonic()]
    os.environ[MEMORY] = f"{os.getpid()}:{','.join(f'{moment:.1f}' for moment in moments)}"
    log.info("worker restarts", times_lately=len(moments))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own words


def _recent() -> list[float]:
    pid, _, moments = os.environ.get(MEMORY, "").partition(":")
    if pid != str(os.getpid()):
        return []
    earliest = monotonic() - RESTARTS_WITHIN_S
    return [moment for moment in map(float, filter(None, moments.split(","))) if moment > earliest]

"""The pulse: a file touched by a process that does its work, for health checks from outside."""

from __future__ import annotations

from pathlib import Path


def touch(file: Path | None) -> None:
    """Touch the file, if one is set. A full disk must not stop the work, so it never raises."""
    if file is None:
        return
    try:
        file.touch()
    except OSError:
        return

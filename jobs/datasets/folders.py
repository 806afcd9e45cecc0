"""Where tables made ready, and the scratch space of confined children, live on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRATCH_KEPT_S = 24 * 3600


def stepwell_home() -> Path:
    """The one folder everything lives under: STEPWELL_HOME, or `.stepwell` here."""
    return Path(os.environ.get("STEPWELL_HOME") or ".stepwell").absolute()


def tables_folder() -> Path:
    """Where tables made ready are kept, a folder an owner; safe to delete at any time."""
    return stepwell_home() / "cache" / "tables"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private empty folder, gone afterwards; on the same file system as the cache."""
    root = stepwell_home() / "cache" / "scratch"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(dir=root)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(now_s: float | None = None) -> int:
    """Remove what killed processes left behind more than a day ago; returns how many folders."""
    oldest = (time.time() if now_s is None else now_s) - SCRATCH_KEPT_S
    root = stepwell_home() / "cache" / "scratch"
    stale = [f for f in root.glob("*") if _modified_at(f) < oldest]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process was faster
        return float("inf")

"""The log file of a server we run: private, bounded, and quoted when the server does not start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from store.hosting.folder import private_folder

BYTES_MAX = 10 * 2**20
LINES_QUOTED = 12


def open_log(path: Path) -> IO[bytes]:
    """Open for appending; a log that grew long becomes `<name>.1`, replacing the one before."""
    private_folder(path.parent)
    if path.exists() and path.stat().st_size > BYTES_MAX:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def last_words(path: Path, since_byte: int) -> str:
    """The last lines written after `since_byte`."""
    with path.open("rb") as log:
        log.seek(since_byte)
        lines = log.read(BYTES_MAX).decode(errors="replace").splitlines()
    return "\n".join(lines[-LINES_QUOTED:])

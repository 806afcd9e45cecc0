"""The spool: files on their way in or out; an upload lands here, counted and hashed, first.

A body is never held in memory. It is written piece by piece on a thread, and the file is deleted
whatever happens; what a killed process left behind is swept at the next start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request

from jobs.web.refusals import NoRoom, TooManyBytes

PIECE_BYTES = 2**20
UPLOAD, DOWNLOAD = ".upload", ".download"
ABANDONED_AFTER_S = 24 * 3600.0
# A refused sender still has bytes on the way. Reading on for a moment lets it hear the answer;
# closing at once would reset the connection under it.
LINGER_S = 5.0


@dataclass(frozen=True, slots=True)
class Spooled:
    """An upload on disk, whole; `sha256` is in hex."""

    path: Path
    size_bytes: int
    sha256: str


@asynccontextmanager
async def spooled(request: Request, folder: Path, bytes_max: int) -> AsyncIterator[Spooled]:
    """The body of the request as a file that lives as long as this context.

    Raises:
        TooManyBytes: it is longer than `bytes_max`.
        NoRoom: the disk is full.
        ClientDisconnect: the sender went away before the end.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bytes_max:
        await _linger(request.stream())
        raise _too_many(int(declared), bytes_max)
    path = folder / f"{uuid.uuid4().hex}{UPLOAD}"
    try:
        with await to_thread.run_sync(private_file, path) as file:
            size_bytes, sha256 = await _take_in(request, file, bytes_max)
        yield Spooled(path, size_bytes, sha256)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom("There is no room left on the disk for this upload.") from error
    finally:
        path.unlink(missing_ok=True)


async def _take_in(request: Request, file: BinaryIO, bytes_max: int) -> tuple[int, str]:
    digest = hashlib.sha256()
    size_bytes = 0
    waiting = bytearray()

    def write() -> None:
        file.write(waiting)
        digest.update(waiting)
        waiting.clear()

    stream = request.stream()
    async for piece in stream:
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            await _linger(stream)
            raise _too_many(None, bytes_max)
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            await to_thread.run_sync(write)
    await to_thread.run_sync(write)
    return size_bytes, digest.hexdigest()


async def _linger(stream: AsyncIterator[bytes]) -> None:
    with anyio.move_on_after(LINGER_S), suppress(ClientDisconnect):
        async for _ in stream:
            pass


def private_file(path: Path) -> BinaryIO:
    """A new file that only we may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _too_many(declared: int | None, bytes_max: int) -> TooManyBytes:
    sent = "This upload" if declared is None else f"This upload of {declared:,} bytes"
    return TooManyBytes(
        f"{sent} is larger than the limit of {bytes_max:,} bytes ({in_words(bytes_max)}), set by "
        "STEPWELL_ARTIFACT_BYTES_MAX. Send less: fewer rows or columns, or Parquet instead of CSV."
    )


def in_words(size_bytes: int) -> str:
    """A size as people say it: `512 MiB`."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def sweep_abandoned(folder: Path) -> int:
    """Delete what uploads of killed processes left behind; returns how many files that was."""
    old = [
        path
        for suffix in (UPLOAD, DOWNLOAD)
        for path in folder.glob(f"*{suffix}")
        if time.time() - path.stat().st_mtime > ABANDONED_AFTER_S
    ]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)

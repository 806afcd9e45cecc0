"""A folder of state: one living owner at a time, files nobody else can read, secrets made once."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Self

from store.hosting.errors import FolderInUse

# Others may pass through (a server that runs as another user has to), but not look around.
PASSAGE = 0o711
PRIVATE = 0o700


def prepare_home(home: Path) -> None:
    """Make the folder where all state of one platform lives, hidden from version control."""
    home.mkdir(mode=PASSAGE, parents=True, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def private_folder(folder: Path) -> Path:
    """Make a folder only its owner may enter; return it."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    draft = _draft(path, text)
    os.replace(draft, path)


def keep_secret(path: Path) -> str:
    """Read the secret kept in this file, making a random one the first time."""
    private_folder(path.parent)
    if not path.exists():
        draft = _draft(path, secrets.token_urlsafe(32))
        try:
            os.link(draft, path)  # fails, rather than replaces, when another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return draft


class FolderClaim:
    """The right to run the servers of one folder, held until released or until we die.

    The kernel drops the lock with its holder, so a claim is never stale: whoever gets it knows
    that the last owner is gone, and that anything still running there is a leftover.
    """

    def __init__(self, lock_file: Path, folder: Path) -> None:
        self._lock_file = lock_file
        self._folder = folder
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        return self._fd is not None

    def take(self) -> None:
        """Take the claim. Raises `FolderInUse` naming the other process when there is one."""
        if self.is_held:
            return
        self._lock_file.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise FolderInUse(self._folder, int(owner) if owner.isdigit() else None) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

"""One `stepwell up` per folder: the second is told which process is the first."""

from __future__ import annotations

from pathlib import Path

from store.hosting.folder import FolderClaim


def platform_lock(home: Path) -> FolderClaim:
    """The claim to run the platform of this folder; taking it may raise `FolderInUse`."""
    return FolderClaim(home / "lock", home)

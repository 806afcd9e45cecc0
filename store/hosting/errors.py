"""What can go wrong when we run other programs, named for the reaction it asks for.

HostingError
├── CannotRun       a program does not start or does not stay up: read why, do what it says
└── FolderInUse     another living process owns the folder: stop it, or use another folder
"""

from __future__ import annotations

from pathlib import Path


class HostingError(Exception):
    """A program could not be run for us; the message is meant for a person."""


class CannotRun(HostingError):
    """A program does not start, or does not stay up."""


class FolderInUse(HostingError):
    """Another living process owns the folder."""

    def __init__(self, folder: Path, owner_pid: int | None) -> None:
        who = f"process {owner_pid}" if owner_pid else "another process"
        super().__init__(
            f"{folder} is in use by {who}; stop that one first, or set STEPWELL_HOME to "
            "another folder."
        )
        self.owner_pid = owner_pid

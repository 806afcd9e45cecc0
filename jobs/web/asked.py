"""What every route is handed: the desk, the caller, their tenant, the settings, the turnstiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from uuid import UUID

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request

from jobs.lifecycle.desk import Desk
from jobs.web.callers import Caller
from jobs.web.refusals import Busy
from jobs.web.settings import WebSettings

# Streams look for news on threads of their own, so that no number of them holds up a request.
STREAM_THREADS = 4


class Turnstile:
    """Lets a bounded number in at once; used from the event loop only, so it needs no lock."""

    def __init__(self, what: str, room: int) -> None:
        self._what = what
        self._room = room
        self._inside = 0

    def check(self) -> None:
        """Raise `Busy` when there is no room."""
        if self._inside >= self._room:
            raise Busy(
                f"{self._inside} {self._what} are open already, which is as many as this platform "
                "takes at once. Try again shortly."
            )

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.check()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


@dataclass(frozen=True, slots=True)
class Lobby:
    """What the app has opened once and hands to its routes."""

    desk: Desk
    settings: WebSettings
    spool: Path
    upload_bytes_max: int
    uploads: Turnstile
    streams: Turnstile
    stream_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(STREAM_THREADS))


def _lobby(request: Request) -> Lobby:
    lobby: Lobby = request.app.state.lobby
    return lobby


def _desk(request: Request) -> Desk:
    return _lobby(request).desk


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _tenant(request: Request) -> UUID:
    return _caller(request).tenant_id


TheLobby = Annotated[Lobby, Depends(_lobby)]
TheDesk = Annotated[Desk, Depends(_desk)]
TheTenant = Annotated[UUID, Depends(_tenant)]
TheCaller = Annotated[Caller, Depends(_caller)]

# A null character is legal in a URL and in no text of Postgres.
Words = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]+$")]

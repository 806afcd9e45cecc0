"""A mail server on the loopback that can be made to die in the middle of a message.

It speaks as much SMTP as a client needs. A message is taken when its last line has come and it is
in the ledger; a message whose id is there already is taken, and delivered once. What `moods` says
of a job decides what becomes of its next message:

    cuts_in    the connection is gone after a part of the message: nothing was taken
    cuts_off   the message was taken, and the connection is gone before the answer
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Literal

from tests.faults.ledger import note_effect

HOST = "127.0.0.1"
STOP_S_MAX = 5.0
MARK = b"X-Effect:"

Mood = Literal["cuts_in", "cuts_off"]


@dataclass(frozen=True, slots=True)
class _Told:
    """Which effect a message is, as its sender has written into its head."""

    key: str = ""
    job_id: str = ""
    seq: int = 0
    tenant_id: str = ""
    tool: str = ""
    idempotency: str = ""

    @classmethod
    def read(cls, line: bytes) -> _Told:
        key, job_id, seq, tenant_id, tool, idempotency = line[len(MARK) :].decode().split()
        return cls(key, job_id, int(seq), tenant_id, tool, idempotency)


class MailServer:
    """A server in a thread of its own; `port` is known once started."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._moods: dict[tuple[int, str], Mood] = {}
        self._taken: set[str] = set()
        self._lock = Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mail server", daemon=True)
        self.port = 0
        self.is_down = False
        # When it died over which step of which job.
        self.struck: dict[tuple[int, str], float] = {}

    def start(self) -> None:
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, HOST, 0), self._loop
        ).result(STOP_S_MAX)
        self.port = serving.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S_MAX)

    def die_at(self, seq: int, job_id: object, mood: Mood) -> None:
        """Die, once, over the next message of this step of the job."""
        with self._lock:
            self._moods[seq, str(job_id)] = mood

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            return
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                if not await self._take(reader):
                    return
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")

    async def _take(self, reader: asyncio.StreamReader) -> bool:
        """Read a message; False when either side has died over it."""
        text, told, mood = b"", _Told(), None
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return False  # the sender has died over it
            text += line
            if line.startswith(MARK):
                told = _Told.read(line)
                mood = self._begin(told)
                if mood == "cuts_in":
                    return False
        self._deliver(told, text.partition(b"\r\n\r\n")[2].decode().strip())
        return mood is None

    def _begin(self, told: _Told) -> Mood | None:
        with self._lock:
            mood = self._moods.pop((told.seq, told.job_id), None)
            if self.is_down:
                mood = "cuts_in"
            if mood is not None:
                self.struck[told.seq, told.job_id] = time.monotonic()
        note_effect(self._ledger, "begin", **asdict(told))
        return mood

    def _deliver(self, told: _Told, text: str) -> None:
        if told.idempotency == "key" and told.key in self._taken:
            return
        self._taken.add(told.key)
        note_effect(self._ledger, "end", **asdict(told), what=text)

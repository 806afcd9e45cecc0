"""The provider itself: reads chat requests, remembers them, and answers by its script."""

from __future__ import annotations

import asyncio
import json
import resource
from contextlib import suppress
from threading import Event, Thread
from typing import assert_never

from tests.provider.completions import as_error, as_pieces, as_whole
from tests.provider.replies import Asked, Hangs, Refuses, Reply, Says, Script
from tests.provider.wire import Gone, Request, Wire

# Connections that may knock at the same moment.
BACKLOG = 4096
FILES_WANTED = 8192


class Provider:
    """A server on loopback, from `with` to its end. Everything it saw can be read meanwhile.

    With `together`, nobody is answered until that many requests are there at the same moment.
    """

    def __init__(self, script: Script, port: int = 0, *, together: int = 0) -> None:
        self.asked: list[Asked] = []
        self.in_flight = 0
        self.in_flight_max = 0
        self.port = port
        self._script = script
        self._wires: set[Wire] = set()
        self._together = together
        self._are_all_here = asyncio.Event()
        self._is_up = Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="provider", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Provider:
        raise_file_limit()
        self._thread.start()
        if not self._is_up.wait(10.0):
            raise RuntimeError("the provider did not come up")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._is_up.set()
        self._loop.run_forever()
        for wire in list(self._wires):
            wire.drop()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=BACKLOG, limit=4 * 2**20
        )
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self._wires.add(wire)
        try:
            # Cancelled only when the provider closes; asyncio would make noise about it.
            with suppress(Gone, asyncio.CancelledError):
                while True:
                    await self._respond(wire, await wire.read())
        finally:
            self._wires.discard(wire)
            wire.close()

    async def _respond(self, wire: Wire, request: Request) -> None:
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                await self._complete(wire, request)
            case "GET", "/v1/models":
                served = [{"id": "test-model", "object": "model", "owned_by": "tests"}]
                await wire.answer(200, {"object": "list", "data": served})
            case _:
                await wire.answer(404, as_error(Refuses(404, f"No {request.path} here.")))

    async def _complete(self, wire: Wire, request: Request) -> None:
        asked = Asked(len(self.asked), request.headers, json.loads(request.body))
        self.asked.append(asked)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            if self.in_flight >= self._together:
                self._are_all_here.set()
            await self._are_all_here.wait()
            await _reply(wire, asked, self._choose(asked))
        finally:
            self.in_flight -= 1

    def _choose(self, asked: Asked) -> Reply:
        if callable(self._script):
            return self._script(asked)
        if asked.number < len(self._script):
            return self._script[asked.number]
        return Refuses(400, f"The script has no answer to request {asked.number}.")


async def _reply(wire: Wire, asked: Asked, reply: Reply) -> None:
    match reply:
        case Refuses():
            after = reply.retry_after_s
            extra = {} if after is None else {"retry-after": str(after)}
            await wire.answer(reply.status, as_error(reply), extra)
        case Hangs():
            await wire.wait_until_gone()
            raise Gone
        case Says() if asked.is_streamed:
            await _stream(wire, asked, reply)
        case Says():
            await asyncio.sleep(reply.takes_s)
            if reply.breaks_after is not None:
                wire.drop()
                raise Gone
            await wire.answer(200, as_whole(asked, reply))
        case _:
            assert_never(reply)


async def _stream(wire: Wire, asked: Asked, says: Says) -> None:
    pieces = list(as_pieces(asked, says))
    pause_s = max(0.0, says.takes_s - says.first_token_s) / max(1, len(pieces) - 1)
    await wire.begin_stream()
    for n, piece in enumerate(pieces):
        if n == says.breaks_after:
            wire.drop()
            raise Gone
        await asyncio.sleep(says.first_token_s if n == 0 else pause_s)
        await wire.tell(json.dumps(piece))
    await wire.tell("[DONE]")
    await wire.end_stream()


def raise_file_limit() -> None:
    """Allow this process as many open connections as its tests may want."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if most == resource.RLIM_INFINITY else min(FILES_WANTED, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))

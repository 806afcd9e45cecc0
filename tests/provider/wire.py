"""As much of HTTP/1.1 as a model client uses, over asyncio's streams: it can hold thousands of
connections at once, and drop any of them in the middle of a sentence."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


class Gone(Exception):
    """The client has hung up."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection, as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> Request:
        """The next request on this connection; raises `Gone`."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            method, path, _ = first.split(" ", 2)
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.strip().lower(): value.strip() for name, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None
        return Request(method, path, headers, body)

    async def answer(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        """Send a whole JSON answer."""
        text = json.dumps(body).encode()
        await self._send(
            _head(
                status,
                {"content-type": "application/json", "content-length": str(len(text))}
                | (headers or {}),
            )
            + text
        )

    async def begin_stream(self) -> None:
        """Open a stream of server-sent events."""
        kind = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await self._send(_head(200, kind))

    async def tell(self, data: str) -> None:
        """Send one event of the stream."""
        event = f"data: {data}\n\n".encode()
        await self._send(b"%x\r\n%b\r\n" % (len(event), event))

    async def end_stream(self) -> None:
        await self._send(b"0\r\n\r\n")

    def drop(self) -> None:
        """Break the connection off, without a goodbye."""
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def wait_until_gone(self) -> None:
        """Return when the client hangs up."""
        while await self._reader.read(4096):
            pass

    async def _send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise Gone from None


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

"""A wire to Postgres that can be cut: `python -m tests.faults.proxy --to PATH`.

Bytes pass both ways until told otherwise, by a line on the control port:

    cut PORT      lose the next answer on the connection that comes from this local port, and close
                  it: the server has done what was asked, and the client does not know
    cut any       the same for the next answer on whichever connection has one
    drop          close every connection now, in whatever it is doing
    refuse        close every connection, and every new one
    accept        let them in again
    delay MS      hold every answer back so long

The hot calls are single statements outside any transaction: when the server answers an execution,
its transaction has been committed. Only such answers are cut, and an answer to a mere preparation
is not one of them: an execution is answered with BindComplete first, and with ReadyForQuery last,
which says whether a transaction is still open. The answers of the hot calls are small, and come in
one piece.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
EXECUTED = b"2\x00\x00\x00\x04"
READY_OUTSIDE = b"Z\x00\x00\x00\x05I"
CONTROL_S_MAX = 5.0


class Switchboard:
    """What is told to the wires, and the wires there are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.wires: dict[int, Client] = {}
        self.cuts: set[int] = set()
        self.cuts_any = 0
        self.is_refusing = False
        self.delay_s = 0.0
        self.count_cut = 0

    def obey(self, line: str) -> str:
        """Do what a line says; the answer goes back to whoever said it."""
        verb, _, rest = line.partition(" ")
        match verb:
            case "cut" if rest == "any":
                self.cuts_any += 1
            case "cut":
                self.cuts.add(int(rest))
            case "drop":
                self.close_all()
            case "refuse":
                self.is_refusing = True
                self.close_all()
            case "accept":
                self.is_refusing = False
            case "delay":
                self.delay_s = float(rest) / 1000
            case "count":
                return str(self.count_cut)
            case _:
                return f"unknown: {line}"
        return "ok"

    def close_all(self) -> None:
        for wire in list(self.wires.values()):
            wire.close()

    def is_to_be_cut(self, port: int, data: bytes) -> bool:
        """Whether this answer is one that has to be lost."""
        if not (data.startswith(EXECUTED) and data.endswith(READY_OUTSIDE)):
            return False
        if port in self.cuts:
            self.cuts.discard(port)
        elif self.cuts_any:
            self.cuts_any -= 1
        else:
            return False
        self.count_cut += 1
        return True


class Client(asyncio.Protocol):
    """The end of a wire at which a client of Postgres sits."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board
        self.port = 0
        self.transport: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("peername")[1]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.board.is_refusing:
            transport.abort()
            return
        self.board.wires[self.port] = self
        task = asyncio.get_running_loop().create_task(self._connect())
        task.add_done_callback(lambda done: done.exception())

    async def _connect(self) -> None:
        try:
            server, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: Server(self), self.board.path
            )
        except OSError:
            self.close()
            return
        self.server = server
        for data in self._waiting:
            server.write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self.server is None:
            self._waiting.append(data)
        else:
            self.server.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.board.wires.pop(self.port, None)
        if self.server is not None:
            self.server.close()

    def close(self) -> None:
        for end in (self.transport, self.server):
            if end is not None:
                end.abort()


class Server(asyncio.Protocol):
    """The end of a wire at which Postgres sits."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client.board.is_to_be_cut(client.port, data):
            client.close()
            return
        if client.transport is None or client.transport.is_closing():
            return
        if client.board.delay_s:
            asyncio.get_running_loop().call_later(
                client.board.delay_s, client.transport.write, data
            )
        else:
            client.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.client.transport is not None:
            self.client.transport.close()


class Control(asyncio.Protocol):
    """A connection over which the switchboard is told what to do."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            self.transport.write(self.board.obey(line).encode() + b"\n")


def tell(port: int, line: str) -> str:
    """Tell the switchboard behind this control port; returns its answer."""
    with socket.create_connection((HOST, port), CONTROL_S_MAX) as wire:
        wire.sendall(line.encode() + b"\n")
        return wire.makefile().readline().strip()


async def serve(path: str, ports: Path) -> None:
    """Serve until killed; the two ports are written into the file once they are open."""
    board = Switchboard(path)
    loop = asyncio.get_running_loop()
    wires = await loop.create_server(lambda: Client(board), HOST, 0, backlog=500)
    control = await loop.create_server(lambda: Control(board), HOST, 0, backlog=500)
    draft = ports.with_suffix(".draft")
    draft.write_text(" ".join(str(s.sockets[0].getsockname()[1]) for s in (wires, control)))
    draft.rename(ports)
    await asyncio.gather(wires.serve_forever(), control.serve_forever())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.proxy")
    parser.add_argument("--to", required=True, help="the unix socket of Postgres")
    parser.add_argument("--ports", type=Path, required=True, help="file to write the ports into")
    args = parser.parse_args()
    asyncio.run(serve(args.to, args.ports))
    return 0


if __name__ == "__main__":
    sys.exit(main())

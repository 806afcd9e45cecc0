"""A server on loopback that gives every request the same answer, and counts the requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Refusing(ThreadingHTTPServer):
    """Answers with one status; `asked` are the paths of the requests that came in."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.headers, self.body = status, headers, body
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Refusing

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.asked.append(self.path)
        if self.server.status == 0:
            return  # hung up on, without a word
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}"
) -> Iterator[Refusing]:
    """The server while the block lasts; the status 0 hangs up without an answer."""
    server = Refusing(status, headers or {}, body)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

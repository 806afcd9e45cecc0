"""Server-sent events out of a byte stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from .errors import Shape


def read_events(pieces: Iterator[bytes]) -> Iterator[Shape | None]:
    """Server-sent events out of a byte stream; None for each sign of life without an event."""
    fields: dict[str, str] = {}
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line:
                name, _, value = line.decode().partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                yield _event_of(fields)
                fields = {}
            else:
                fields = {}
                yield None


def _event_of(fields: Mapping[str, str]) -> Shape:
    data = json.loads(fields["data"])
    if fields.get("event") == "done":
        return {"id": None, "type": "done", "data": data, "at": data.get("finished_at")}
    return dict(data)

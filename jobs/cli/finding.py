"""Find the platform to talk to: named in the environment, or running in this folder.

`STEPWELL_URL` with `STEPWELL_API_TOKEN` wins. Otherwise `stepwell up` has left `platform.json` in
its home (`STEPWELL_HOME`, or `.stepwell` in this folder), which says where everything is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.cli.speech import Code, Complaint
from jobs.client import Client

RECORD = "platform.json"
DEFAULT_URL = "http://127.0.0.1:8700"


@dataclass(frozen=True, slots=True)
class Place:
    """A platform: where its API is, how to be let in, and what `stepwell up` said of it."""

    url: str
    token: str = field(repr=False)
    record: dict[str, Any] = field(default_factory=dict)

    def client(self) -> Client:
        return Client(self.url, self.token)

    @property
    def flower_url(self) -> str | None:
        return self.record.get("flower_url")

    @property
    def outbox(self) -> Path | None:
        found = self.record.get("outbox")
        return None if found is None else Path(found)


def home() -> Path:
    """Where the state of a platform in this folder is."""
    return Path(os.environ.get("STEPWELL_HOME") or ".stepwell").absolute()


def find_platform() -> Place:
    """The platform to talk to; a `Complaint` when there is none to be found."""
    url, token = os.environ.get("STEPWELL_URL"), os.environ.get("STEPWELL_API_TOKEN")
    if url:
        if not token:
            raise Complaint(
                f"STEPWELL_URL names {url}, but STEPWELL_API_TOKEN is not set.",
                hint="export STEPWELL_API_TOKEN=<the token that platform was started with>",
            )
        return Place(url, token, read_record(home()))
    record = read_record(home())
    if not record:
        raise nothing_running()
    return Place(str(record["url"]), token or _token_of(record), record)


def read_record(folder: Path) -> dict[str, Any]:
    """What a running `stepwell up` wrote about itself; empty when there is nothing."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "url" in record else {}


def nothing_running() -> Complaint:
    return Complaint(
        f"Nothing is running here: there is no {RECORD} in {home()}, and STEPWELL_URL is not set.",
        hint="start it with `stepwell up` in another terminal, or `make demo` to see one job run",
        code=Code.UNREACHABLE,
    )


def _token_of(record: dict[str, Any]) -> str:
    path = Path(str(record.get("token_file", "")))
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise Complaint(
            f"The token of the platform cannot be read: {path}: {error.strerror}.",
            hint="ask as the user who ran `stepwell up`, or set STEPWELL_API_TOKEN",
            code=Code.UNREACHABLE,
        ) from None

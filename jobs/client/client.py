"""The client's everyday verbs: ask for jobs, follow them, move bytes, look at the platform."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from .connection import Connection, given
from .decisions import Decisions
from .errors import NotFinished, Shape, StepwellError, Unreachable
from .policies import Policies
from .schedules import Schedules
from .stream import read_events

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})
PIECE_BYTES = 256 * 1024
# The server sends a heartbeat every 15 s; three missed ones mean that it is gone.
SILENCE_S = 45.0
RECONNECT_FIRST_S = 0.2
RECONNECT_LAST_S = 5.0


class Client(Decisions, Policies, Schedules):
    """One connection to one platform, as one tenant. Use it as a context manager, or close it.

    Args:
        url: where the API is, such as `http://127.0.0.1:8700`.
        token: the bearer token of the tenant.
        timeout_s: the longest silence of the server in the middle of a request.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0) -> None:
        self._connection = Connection(url, token, timeout_s=timeout_s)
        self.url = self._connection.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # -- jobs ---------------------------------------------------------------------------------

    def submit(
        self,
        agent: str,
        input: Mapping[str, Any],  # noqa: A002 - the word the API uses
        *,
        model: str | None = None,
        job_class: str | None = None,
        deadline_s: float | None = None,
        budget_usd: str | None = None,
        budget_tokens: int | None = None,
        idempotency_key: str | None = None,
        dry_run: bool = False,
    ) -> Shape:
        """Ask for a job and return it as accepted; the same key returns the same job again.

        When `deadline_s` seconds have passed, nothing more is begun and the job ends as expired.
        It may use no more than `budget_usd` dollars (a text, so that it is exact) and
        `budget_tokens` tokens, which may be less than its agent allows, and never more.
        With `dry_run` nothing is created: the answer only says that the request would be taken.

        Raises:
            Refused: unknown agent or model, or an input that does not fit the agent.
            Overloaded: there is no room now; ask again after its `retry_after_s` seconds.
            Unreachable: nobody knows whether it was accepted; a key makes asking again safe.
        """
        asked = {"model": model, "class": job_class, "deadline_s": deadline_s}
        asked |= {"budget_usd": budget_usd, "budget_tokens": budget_tokens}
        body = {"agent": agent, "input": dict(input), **given(asked)}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        params = {"dry_run": "true"} if dry_run else {}
        return self._connection.ask("POST", "/v1/jobs", json=body, headers=headers, params=params)

    def job(self, job_id: str) -> Shape:
        """The job as it stands."""
        return self._connection.ask("GET", f"/v1/jobs/{job_id}")

    def jobs(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        limit: int = 50,
    ) -> list[Shape]:
        """The newest jobs first, at most `limit` of them."""
        asked = {"status": status, "agent": agent}
        return self._connection.collect("/v1/jobs", asked, limit=limit, last="id")

    def cancel(self, job_id: str) -> Shape:
        """Ask a job to stop; returns it as it stands. An ended job stays as it ended."""
        return self._connection.ask("POST", f"/v1/jobs/{job_id}/cancel")

    def steps(self, job_id: str) -> list[Shape]:
        """Every step of the job in order: its checkpoint table."""
        return self._all_steps(f"/v1/jobs/{job_id}/steps", before=0)

    def guards(self, job_id: str) -> list[Shape]:
        """What guards have said in the job, in the order of its steps; its input is step 0.

        Under the guard `*` are counted those of a stage that had nothing to say.
        """
        return self._all_steps(f"/v1/jobs/{job_id}/guards", before=-1)

    def _all_steps(self, path: str, *, before: int) -> list[Shape]:
        """What is told step by step, page after page, until there is no more."""
        found: list[Shape] = []
        while True:
            after = found[-1]["seq"] if found else before
            page = self._connection.ask("GET", path, params={"after": after})
            found += page["data"]
            if not page["has_more"]:
                return found

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Shape:
        """Wait until the job has ended and return it.

        Raises:
            NotFinished: it has not, within `timeout_s` seconds.
        """
        due = None if timeout_s is None else time.monotonic() + timeout_s
        for event in self.events(job_id, deadline=due):
            if event["type"] == "done":
                return dict(event["data"])
        raise NotFinished(f"job {job_id} has not ended after {timeout_s:g} s; it goes on")

    def events(
        self,
        job_id: str,
        *,
        after: int = 0,
        patience_s: float = 60.0,
        deadline: float | None = None,
        on_gap: Callable[[StepwellError], None] | None = None,
    ) -> Iterator[Shape]:
        """Every event of the job, from the one after `after`, live until the job has ended.

        Each is `{"id", "type", "data", "at"}`; the last has the type `done` and the ended job as
        its data. A lost connection is taken up again behind the last event seen.

        Args:
            patience_s: how long to keep trying while nothing answers.
            deadline: by `time.monotonic()`, when to stop without a `done`.
            on_gap: told each time the connection is lost, before it is tried again.

        Raises:
            Refused: there is no such job.
            Unreachable: nothing answered for `patience_s` seconds.
        """
        pause_s = RECONNECT_FIRST_S
        answered_at = time.monotonic()
        while deadline is None or time.monotonic() < deadline:
            try:
                for event in self._stream_events(job_id, after, deadline):
                    answered_at, pause_s = time.monotonic(), RECONNECT_FIRST_S
                    if event is None:
                        if deadline is not None and time.monotonic() >= deadline:
                            return
                        continue
                    after = event.get("id") or after
                    yield event
                    if event["type"] == "done":
                        return
            except Unreachable as error:
                if time.monotonic() - answered_at > patience_s:
                    raise
                if on_gap is not None and not _is_over(deadline):
                    on_gap(error)
            # Waits longer each time: a server that comes back should not meet everybody at once.
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_LAST_S)

    # -- bytes --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Shape:
        """Send a table (CSV, TSV, JSON lines, Parquet, Excel) and return how it was understood.

        Args:
            path: a local file; it is streamed, never held in memory.
            name: what to call it; its own name by default.
            progress: called with (bytes sent, bytes in all).

        Raises:
            OSError: the file cannot be read.
            Refused: the platform cannot read it as a table, or it is too large.
        """
        size_bytes = path.stat().st_size
        return self._connection.ask(
            "POST",
            "/v1/datasets",
            params={"name": name or path.name},
            content=_pieces(path, size_bytes, progress),
            headers={
                "Content-Length": str(size_bytes),
                "Content-Type": "application/octet-stream",
            },
            # Reading a large table takes the server a while, with nothing to say meanwhile.
            timeout=httpx.Timeout(600.0, connect=5.0),
        )

    def artifacts(self, job_id: str) -> list[Shape]:
        """The files a job has made, as labels: id, name, media_type, size_bytes, sha256."""
        return list(self._connection.ask("GET", f"/v1/jobs/{job_id}/artifacts")["data"])

    def download(
        self,
        artifact_id: str,
        to: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write an artifact to the file `to`, whole or not at all, and return that path."""
        part = to.with_name(to.name + ".part")
        with self._connection.open("GET", f"/v1/artifacts/{artifact_id}") as answer:
            total = int(answer.headers.get("Content-Length", 0))
            done = 0
            try:
                with part.open("wb") as file:
                    for piece in answer.iter_bytes(PIECE_BYTES):
                        done += file.write(piece)
                        if progress is not None:
                            progress(done, total)
                part.replace(to)
            except httpx.TransportError as error:
                raise Unreachable(f"the download broke off after {done:,} bytes") from error
            finally:
                part.unlink(missing_ok=True)
        return to

    # -- the platform -------------------------------------------------------------------------

    def agents(self) -> list[Shape]:
        """The agents one may submit to, with their input schema and tools."""
        return list(self._connection.ask("GET", "/v1/agents")["data"])

    def queues(self) -> Shape:
        """What lies on each lane, what waits behind it and how long, the level, and refusals."""
        return self._connection.ask("GET", "/v1/queues")

    def workers(self) -> list[Shape]:
        """The worker processes that are alive."""
        return list(self._connection.ask("GET", "/v1/workers")["data"])

    def dependencies(self) -> list[Shape]:
        """What agents call outside, by name, each with how the gate before it stands."""
        return list(self._connection.ask("GET", "/v1/dependencies")["data"])

    def what_if(self, name: str, factor: float) -> Shape:
        """What would happen if that dependency took `factor` times as long, in `sentences` too."""
        asked = {"name": name, "factor": factor}
        return self._connection.ask("GET", "/v1/dependencies/what-if", params=asked)

    def ready(self) -> Shape:
        """Whether the platform can work; raises Unreachable when it cannot."""
        return self._connection.ask("GET", "/readyz")

    # -- how it is done -----------------------------------------------------------------------

    def _stream_events(
        self, job_id: str, after: int, deadline: float | None
    ) -> Iterator[Shape | None]:
        silence_s = SILENCE_S
        if deadline is not None:
            silence_s = max(0.05, min(SILENCE_S, deadline - time.monotonic()))
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx.Timeout(silence_s, connect=5.0)
        with self._connection.open(
            "GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=timeout
        ) as answer:
            try:
                yield from read_events(answer.iter_bytes())
            except httpx.TransportError as error:
                raise self._connection.explain(error) from error


def _pieces(
    path: Path, size_bytes: int, progress: Callable[[int, int], None] | None
) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
            sent += len(piece)
            if progress is not None:
                progress(sent, size_bytes)


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline

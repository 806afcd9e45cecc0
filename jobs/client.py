"""The client: ask a running Stepwell over HTTP for anything, from any Python program.

    with Client("http://127.0.0.1:8700", token) as stepwell:
        data = stepwell.upload(Path("flights.csv"))
        job = stepwell.submit("analyst", {"ask": "who runs late?", "dataset": data["id"]})
        print(stepwell.wait(job["id"])["output"])

It imports nothing of the platform, so it may be copied into a program of its own. Shapes are
plain dictionaries, exactly the JSON the API answers.

    StepwellError
    ├── Refused         the platform answered, and said no: `.problem` tells why; correct and retry
    ├── Unreachable     nothing answered, or it said "not now": wait and try again
    └── NotFinished     `wait` ran out of its time; the job goes on

Nothing is sent twice by itself but the event stream, which may be read any number of times.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

Shape = dict[str, Any]

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})
PAGE = 200
PIECE_BYTES = 256 * 1024
# The server sends a heartbeat every 15 s; three missed ones mean that it is gone.
SILENCE_S = 45.0
RECONNECT_FIRST_S = 0.2
RECONNECT_LAST_S = 5.0


class StepwellError(Exception):
    """What was asked of the platform did not happen; the message is meant for a person."""


class Refused(StepwellError):
    """The platform answered no. `problem` is its RFC 9457 body."""

    def __init__(self, problem: Shape) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.code = str(problem.get("code", ""))
        super().__init__(str(problem.get("detail") or problem.get("title") or "refused"))


class Unreachable(StepwellError):
    """Nothing answered, or the platform cannot answer now."""


class NotFinished(StepwellError):
    """The time to wait is over and the job is not."""


class Client:
    """One connection to one platform, as one tenant. Use it as a context manager, or close it.

    Args:
        url: where the API is, such as `http://127.0.0.1:8700`.
        token: the bearer token of the tenant.
        timeout_s: the longest silence of the server in the middle of a request.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "User-Agent": "stepwell-client"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            # A proxy of the environment cannot reach our own loopback.
            trust_env=not _is_loopback(self.url),
        )

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
        self._http.close()

    # -- jobs ---------------------------------------------------------------------------------

    def submit(
        self,
        agent: str,
        input: Mapping[str, Any],  # noqa: A002 - the word the API uses
        *,
        model: str | None = None,
        job_class: str | None = None,
        idempotency_key: str | None = None,
        dry_run: bool = False,
    ) -> Shape:
        """Ask for a job and return it as accepted; the same key returns the same job again.

        With `dry_run` nothing is created: the answer only says that the request would be taken.

        Raises:
            Refused: unknown agent or model, or an input that does not fit the agent.
            Unreachable: nobody knows whether it was accepted; a key makes asking again safe.
        """
        body: Shape = {"agent": agent, "input": dict(input)}
        if model is not None:
            body["model"] = model
        if job_class is not None:
            body["class"] = job_class
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        params = {"dry_run": "true"} if dry_run else {}
        return self._ask("POST", "/v1/jobs", json=body, headers=headers, params=params)

    def job(self, job_id: str) -> Shape:
        """The job as it stands."""
        return self._ask("GET", f"/v1/jobs/{job_id}")

    def jobs(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        limit: int = 50,
    ) -> list[Shape]:
        """The newest jobs first, at most `limit` of them."""
        found: list[Shape] = []
        before: str | None = None
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            asked = {"status": status, "agent": agent, "before": before, "limit": wanted}
            page = self._ask("GET", "/v1/jobs", params=_given(asked))
            found += page["data"]
            if not page["has_more"]:
                break
            before = page["data"][-1]["id"]
        return found

    def cancel(self, job_id: str) -> Shape:
        """Ask a job to stop; returns it as it stands. An ended job stays as it ended."""
        return self._ask("POST", f"/v1/jobs/{job_id}/cancel")

    def steps(self, job_id: str) -> list[Shape]:
        """Every step of the job in order: its checkpoint table."""
        found: list[Shape] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = self._ask("GET", f"/v1/jobs/{job_id}/steps", params={"after": after})
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
        return self._ask(
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
        return list(self._ask("GET", f"/v1/jobs/{job_id}/artifacts")["data"])

    def download(
        self,
        artifact_id: str,
        to: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write an artifact to the file `to`, whole or not at all, and return that path."""
        part = to.with_name(to.name + ".part")
        with self._open("GET", f"/v1/artifacts/{artifact_id}") as answer:
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
        return list(self._ask("GET", "/v1/agents")["data"])

    def queues(self) -> Shape:
        """How many messages wait on each lane."""
        return self._ask("GET", "/v1/queues")

    def workers(self) -> list[Shape]:
        """The worker processes that are alive."""
        return list(self._ask("GET", "/v1/workers")["data"])

    def ready(self) -> Shape:
        """Whether the platform can work; raises Unreachable when it cannot."""
        return self._ask("GET", "/readyz")

    # -- how it is done -----------------------------------------------------------------------

    def _ask(self, method: str, path: str, **sent: Any) -> Shape:
        try:
            answer = self._http.request(method, path, **sent)
        except httpx.TransportError as error:
            raise self._explain(error) from error
        self._judge(answer)
        return _parse(answer)

    def _open(self, method: str, path: str, **sent: Any) -> _Opened:
        return _Opened(self, self._http.stream(method, path, **sent))

    def _judge(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        problem = _problem_of(answer)
        if answer.status_code in (502, 503, 504):
            raise Unreachable(str(problem.get("detail") or problem.get("title")))
        raise Refused(problem)

    def _explain(self, error: httpx.TransportError) -> Unreachable:
        what = {
            httpx.ConnectError: "nothing answers there",
            httpx.ConnectTimeout: "it does not pick up",
            httpx.ReadTimeout: "it went silent",
        }.get(type(error), "the connection broke")
        return Unreachable(f"cannot talk to {self.url}: {what} ({error or type(error).__name__})")

    def _stream_events(
        self, job_id: str, after: int, deadline: float | None
    ) -> Iterator[Shape | None]:
        silence_s = SILENCE_S
        if deadline is not None:
            silence_s = max(0.05, min(SILENCE_S, deadline - time.monotonic()))
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx.Timeout(silence_s, connect=5.0)
        with self._open(
            "GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=timeout
        ) as answer:
            try:
                yield from _read_events(answer.iter_bytes())
            except httpx.TransportError as error:
                raise self._explain(error) from error


class _Opened:
    """A streamed answer that is judged before its first byte is read."""

    def __init__(self, client: Client, stream: Any) -> None:
        self._client = client
        self._stream = stream

    def __enter__(self) -> httpx.Response:
        try:
            answer: httpx.Response = self._stream.__enter__()
        except httpx.TransportError as error:
            raise self._client._explain(error) from error
        try:
            if not answer.is_success:
                answer.read()
                self._client._judge(answer)
        except BaseException:
            self._stream.__exit__(None, None, None)
            raise
        return answer

    def __exit__(self, *error: Any) -> None:
        self._stream.__exit__(*error)


def _read_events(pieces: Iterator[bytes]) -> Iterator[Shape | None]:
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


def _parse(answer: httpx.Response) -> Shape:
    try:
        return dict(answer.json())
    except ValueError:
        raise Unreachable(
            f"{answer.request.url} answers, but not as Stepwell does; is this the right address?"
        ) from None


def _problem_of(answer: httpx.Response) -> Shape:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return {"status": answer.status_code, "title": answer.reason_phrase, "code": ""}
    return {"status": answer.status_code, **problem}


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")

"""The connection: one request and its answer, judged, or a sentence about why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from .errors import Overloaded, Refused, Shape, Unreachable

PAGE = 200
# The problems that say "not now, but then".
NOT_NOW = frozenset({"temporary-reduced-capacity", "quota-exceeded"})


class Connection:
    """One connection to one platform, as one tenant.

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

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **sent: Any) -> Shape:
        """The JSON of the answer; raises `Refused` or `Unreachable`."""
        try:
            answer = self._http.request(method, path, **sent)
        except httpx.TransportError as error:
            raise self.explain(error) from error
        self.judge(answer)
        return _parse(answer)

    def collect(self, path: str, asked: Mapping[str, Any], *, limit: int, last: str) -> list[Shape]:
        """At most `limit` items of a list, page by page; `last` names the field to go on behind."""
        found: list[Shape] = []
        while len(found) < limit:
            params = {
                **asked,
                "before": found[-1][last] if found else None,
                "limit": min(PAGE, limit - len(found)),
            }
            page = self.ask("GET", path, params=given(params))
            found += page["data"]
            if not page["has_more"]:
                break
        return found

    def open(self, method: str, path: str, **sent: Any) -> Opened:
        """An answer to be read as it comes, inside a `with`."""
        return Opened(self, self._http.stream(method, path, **sent))

    def judge(self, answer: httpx.Response) -> None:
        """Raise what an answer that is no success means."""
        if answer.is_success:
            return
        problem = _problem_of(answer)
        if problem.get("code") in NOT_NOW:
            raise Overloaded(problem, _retry_after_s(answer, problem))
        if answer.status_code in (502, 503, 504):
            raise Unreachable(str(problem.get("detail") or problem.get("title")))
        raise Refused(problem)

    def explain(self, error: httpx.TransportError) -> Unreachable:
        """Say which way nothing came back."""
        what = {
            httpx.ConnectError: "nothing answers there",
            httpx.ConnectTimeout: "it does not pick up",
            httpx.ReadTimeout: "it went silent",
        }.get(type(error), "the connection broke")
        return Unreachable(f"cannot talk to {self.url}: {what} ({error or type(error).__name__})")


class Opened:
    """A streamed answer that is judged before its first byte is read."""

    def __init__(self, connection: Connection, stream: Any) -> None:
        self._connection = connection
        self._stream = stream

    def __enter__(self) -> httpx.Response:
        try:
            answer: httpx.Response = self._stream.__enter__()
        except httpx.TransportError as error:
            raise self._connection.explain(error) from error
        try:
            if not answer.is_success:
                answer.read()
                self._connection.judge(answer)
        except BaseException:
            self._stream.__exit__(None, None, None)
            raise
        return answer

    def __exit__(self, *error: Any) -> None:
        self._stream.__exit__(*error)


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


def _retry_after_s(answer: httpx.Response, problem: Shape) -> float:
    """What the header says, in seconds; the body's figure where a proxy has taken it away."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else float(problem.get("retry_after_s") or 1.0)


def given(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was given."""
    return {name: value for name, value in asked.items() if value is not None}


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")

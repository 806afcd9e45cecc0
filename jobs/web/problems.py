"""Every no of the API in one table: which error becomes which RFC 9457 problem.

A problem carries `type`, `title`, `status`, `detail`, `instance`, `code` and `request_id`, and
where fields are wrong `errors: [{loc, msg}]`. One that says "not now" carries `retry_after_s`,
which the header Retry-After says in whole seconds. The detail is the error's own sentence where
that was written for the person who asks. Where it speaks of our own insides (a server's address, a
login), the table says something of its own instead, and the log keeps the rest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from broker.errors import BrokerDown
from jobs import errors
from jobs.datasets.errors import UnreadableDataset
from jobs.web.refusals import (
    BadRequest,
    Busy,
    Closed,
    Crowded,
    NoRoom,
    NotSettled,
    NotYours,
    TooManyBytes,
    Unfit,
    UnknownHost,
    WrongToken,
)
from store.errors import NotFound, NotReady, TooLarge, Unreachable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:stepwell:problem:"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error becomes. `detail` None means: the error's own sentence."""

    status: int
    code: str
    title: str
    detail: str | None = None
    retry_after_s: int | None = None
    type: str | None = None


TABLE: Mapping[type[Exception], Problem] = {
    errors.UnknownAgent: Problem(404, "unknown-agent", "No such agent"),
    errors.UnknownTenant: Problem(403, "unknown-tenant", "No such tenant"),
    errors.UnknownModel: Problem(422, "unknown-model", "No such model"),
    errors.InvalidInput: Problem(422, "invalid-input", "The input does not fit the agent"),
    errors.BadSchedule: Problem(422, "bad-schedule", "The schedule cannot be"),
    errors.IdempotencyMismatch: Problem(
        422, "idempotency-mismatch", "The idempotency key belongs to another request"
    ),
    errors.Overloaded: Problem(
        503, errors.Overloaded.code, "Too much waits already", type=REDUCED_CAPACITY
    ),
    errors.OverQuota: Problem(
        429, errors.OverQuota.code, "Too much of this tenant waits", type=QUOTA_EXCEEDED
    ),
    errors.Refused: Problem(422, "refused", "The request was refused"),
    UnreadableDataset: Problem(422, "unreadable-dataset", "The file is not a table we can read"),
    NotFound: Problem(404, "not-found", "Nothing by that id"),
    TooLarge: Problem(413, "too-large", "Too many bytes"),
    Unreachable: Problem(
        503,
        "database-unreachable",
        "The database does not answer",
        "The platform cannot reach its database. Nothing was changed; try again shortly.",
        retry_after_s=2,
    ),
    BrokerDown: Problem(
        503,
        "redis-unreachable",
        "Redis does not answer",
        "The platform cannot reach its Redis. No job is lost by that; try again shortly.",
        retry_after_s=2,
    ),
    NotReady: Problem(
        503,
        "database-not-ready",
        "The database is not ready",
        "The platform's database is not ready for this version. Whoever runs it finds out why "
        "with `stepwell doctor`.",
        retry_after_s=10,
    ),
    # Nobody is left to hear this one; it keeps a broken upload from counting as our fault.
    ClientDisconnect: Problem(400, "broken-off", "The request broke off", "It ended too early."),
    BadRequest: Problem(400, "bad-request", "The request cannot be understood"),
    UnknownHost: Problem(400, "unknown-host", "Not a name of this API"),
    WrongToken: Problem(401, "wrong-token", "A valid token is needed"),
    NotYours: Problem(403, "not-yours", "Not for this caller"),
    TooManyBytes: Problem(413, "too-large", "Too many bytes"),
    Unfit: Problem(422, "does-not-fit", "It does not fit what it is for"),
    Closed: Problem(409, "closed", "It was decided before, or is over"),
    NotSettled: Problem(409, "not-settled", "A step is still coming in", retry_after_s=2),
    Crowded: Problem(429, "crowded", "Too many of these wait already", retry_after_s=10),
    Busy: Problem(503, "busy", "Too much at once", retry_after_s=2, type=REDUCED_CAPACITY),
    NoRoom: Problem(507, "no-room", "No room left", retry_after_s=60),
}

OUR_FAULT = Problem(
    500,
    "internal-error",
    "Something went wrong on our side",
    "This is a fault of the platform. Whoever runs it finds it in the log by the request id.",
)


def install(app: FastAPI) -> None:
    """Answer every error of the app with its problem."""
    for kind in (*TABLE, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return answer(request, error)


def answer(request: Request, error: Exception) -> JSONResponse:
    """The problem of this error, as a response."""
    problem = problem_of(error)
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    # A refusal has its audit line; under overload it must not be a line of the log, too.
    if problem.status >= 500 and not isinstance(error, errors.NotNow):
        log.warning(
            "request.failed",
            request_id=request_id,
            method=request.method,
            path=request.url.path,
            code=problem.code,
            error=f"{type(error).__name__}: {error}",
        )
    return JSONResponse(
        body_of(problem, error, request.url.path, request_id),
        status_code=problem.status,
        headers=_headers_of(problem, error),
        media_type=MEDIA_TYPE,
    )


def problem_of(error: Exception) -> Problem:
    """Look the error up by its nearest class in the table."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    if isinstance(error, RequestValidationError):
        return Problem(422, "invalid-request", "The request does not have the right shape")
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        return Problem(error.status_code, title.lower().replace(" ", "-"), title)
    return OUR_FAULT


def body_of(problem: Problem, error: Exception, path: str, request_id: str) -> dict[str, Any]:
    """The JSON of a problem."""
    body: dict[str, Any] = {
        "type": problem.type or TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail or _sentence_of(error),
        "instance": path,
        "code": problem.code,
        "request_id": request_id,
    }
    if isinstance(error, errors.NotNow):
        body["retry_after_s"] = round(error.retry_after_s, 1)
    wrong = _fields_of(error)
    return {**body, "errors": wrong} if wrong else body


def _sentence_of(error: Exception) -> str:
    if isinstance(error, RequestValidationError):
        return "; ".join(f"{_dotted(e['loc'])}: {e['msg']}" for e in _fields_of(error))
    if isinstance(error, HTTPException):
        return str(error.detail)
    return str(error)


def _fields_of(error: Exception) -> list[dict[str, Any]]:
    """Which fields are wrong and why; never what was in them, which may be secret."""
    if isinstance(error, RequestValidationError):
        return [{"loc": list(e["loc"]), "msg": _message_of(e)} for e in error.errors()]
    if isinstance(error, errors.InvalidInput):
        return [{"loc": list(e["loc"]), "msg": str(e["msg"])} for e in error.errors]
    return []


def _message_of(found: Mapping[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return f"is not JSON: {found.get('ctx', {}).get('error', 'it cannot be parsed')}"
    return str(found["msg"]).removeprefix("Value error, ")


def _dotted(loc: Iterable[object]) -> str:
    return ".".join(part for part in loc if isinstance(part, str) and part != "body") or "body"


def _headers_of(problem: Problem, error: Exception) -> dict[str, str]:
    headers = dict(getattr(error, "headers", None) or {})
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="stepwell"'
    if isinstance(error, errors.NotNow):
        # Its jitter is in it; rounded up, or one would come too early.
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    elif problem.retry_after_s is not None:
        # Jitter, or everybody who was refused at once comes back at once.
        most = problem.retry_after_s * 2
        headers["Retry-After"] = str(random.randint(problem.retry_after_s, most))  # noqa: S311
    return headers

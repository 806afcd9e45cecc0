"""Error classes: what kind of failure an exception is, by a table of names and what it answered.

    not_sent          it never left this machine, or was certainly not accepted
    transient         the connection broke, and it may have been acted on
    store_away        our own Postgres was away, or full
    server_error      the other side stumbled
    rate_limited      told to slow down
    quota             the account is empty
    rejected          the request is wrong
    context_overflow  the conversation is longer than the model's window
    unavailable       the gate of its dependency stayed shut for longer than a step waits
    in_doubt          it may have happened, and must not happen twice
    unanswered        nobody answered in time, and there was no default
    changed           the code it was begun with is gone, and a person would not go on with the new
    guarded           a guard did not let it pass, or a person whom it had asked
    timeout           it took longer than it may
    limit             the job used up what it may use
    forbidden         it may not be done by a job that came to be as this one did
    budget            there is too little budget for the step
    crashed           the process of its own that a tool ran in died under it
    poison            the step took its workers down with it
    bug               code of ours or of a tool raised

Exceptions are told by the names in their ancestry, nearest first, so nothing has to be imported to
classify them, and an error that a child process raised is told like any other. Where a name says
too little, what the other side answered decides: an HTTP status, an SMTP code, a JSON-RPC code. An
answer that got lost on the way counts as a connection that broke, since it claims the least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import isfinite
from typing import Any


class ErrorClass(StrEnum):
    """What kind of failure it was; the value is what people and dashboards see."""

    NOT_SENT = "not_sent"
    TRANSIENT = "transient"
    STORE_AWAY = "store_away"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    REJECTED = "rejected"
    CONTEXT_OVERFLOW = "context_overflow"
    UNAVAILABLE = "unavailable"
    IN_DOUBT = "in_doubt"
    UNANSWERED = "unanswered"
    DENIED = "denied"
    CHANGED = "changed"
    GUARDED = "guarded"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    FORBIDDEN = "forbidden"
    BUDGET = "budget"
    CRASHED = "crashed"
    POISON = "poison"
    BUG = "bug"


# A 429 that asks for money, not for patience.
QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached")
# JSON-RPC: a connection that closed, an answer that did not come (by the standard, and by HTTP).
RPC_CLOSED, RPC_TIMEOUTS, RPC_INTERNAL = -32000, (-32001, 408), -32603


def classify(error: BaseException) -> ErrorClass:
    """What kind of failure this exception is."""
    # A model's connection error says in which phase it broke; before writing, nothing was sent.
    if getattr(error, "phase", None) in ("pool", "connect"):
        return ErrorClass.NOT_SENT
    for ancestor in type(error).__mro__:
        found = CLASS_BY_NAME.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if isinstance(found, ErrorClass):
            return found
        if found is not None:
            return found(error)
    return ErrorClass.BUG


def is_timeout(error: BaseException) -> bool:
    """Whether time ran out, whoever measured it."""
    return isinstance(error, TimeoutError) or any(
        "Timeout" in each.__name__ for each in type(error).__mro__
    )


def retry_after_of(error: BaseException) -> float | None:
    """The seconds after which the other side wants to be asked again, if it said so.

    From the headers `retry-after-ms` or `Retry-After`, which is seconds or an HTTP date.
    """
    told = getattr(error, "retry_after", None)
    if isinstance(told, int | float) and isfinite(told) and told >= 0:
        return float(told)
    headers: Any = getattr(error, "headers", None)
    if headers is None:
        headers = getattr(getattr(error, "response", None), "headers", None)
    if not hasattr(headers, "items"):
        return None
    return _retry_after({str(name).lower(): str(value) for name, value in headers.items()})


def _retry_after(headers: Mapping[str, str]) -> float | None:
    in_ms = _seconds(headers.get("retry-after-ms", ""))
    if in_ms is not None:
        return in_ms / 1000
    said = headers.get("retry-after", "")
    in_s = _seconds(said)
    return _seconds_until(said) if in_s is None else in_s


def _seconds(said: str) -> float | None:
    try:
        seconds = float(said)
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


# --- what was answered ----------------------------------------------------------------------------


def by_http_status(error: Any) -> ErrorClass:
    """By the status of the answer that the error carries."""
    answer = getattr(error, "response", error)
    status = getattr(error, "status_code", getattr(answer, "status_code", None))
    if status is None:
        status = getattr(error, "code", None)
    match status:
        case 402:
            return ErrorClass.QUOTA
        case 408:
            return ErrorClass.TRANSIENT
        case 429 if getattr(error, "code", None) in QUOTA_CODES:
            return ErrorClass.QUOTA
        case 429 | 529:
            return ErrorClass.RATE_LIMITED
        case 503:
            return when_unavailable(error)
        case int() if status >= 500:
            return ErrorClass.SERVER_ERROR
        case int():
            return ErrorClass.REJECTED
        case _:
            return ErrorClass.TRANSIENT


def when_unavailable(error: Any) -> ErrorClass:
    """A server that says when to come back asks for patience; any other has stumbled."""
    is_told = getattr(error, "status_code", None) == 529 or retry_after_of(error) is not None
    return ErrorClass.RATE_LIMITED if is_told else ErrorClass.SERVER_ERROR


def by_smtp_code(error: Any) -> ErrorClass:
    """A 4xx is a refusal for now, which has accepted nothing; a 5xx one for good."""
    return _of_smtp_codes([getattr(error, "code", getattr(error, "smtp_code", None))])


def by_recipients(error: Any) -> ErrorClass:
    """By what was said of each recipient: smtplib has codes by address, aiosmtplib errors."""
    refused = getattr(error, "recipients", ())
    if isinstance(refused, Mapping):
        return _of_smtp_codes([code for code, _ in refused.values()])
    return _of_smtp_codes([each.code for each in refused])


def _of_smtp_codes(codes: list[Any]) -> ErrorClass:
    if not codes or not all(isinstance(code, int) and 400 <= code < 600 for code in codes):
        return ErrorClass.TRANSIENT
    is_for_good = any(code >= 500 for code in codes)
    return ErrorClass.REJECTED if is_for_good else ErrorClass.NOT_SENT


def by_rpc_code(error: Any) -> ErrorClass:
    """By the JSON-RPC code of a tool server's answer."""
    code = getattr(getattr(error, "error", error), "code", None)
    if code in RPC_TIMEOUTS:
        return ErrorClass.TIMEOUT
    if code == RPC_INTERNAL:
        return ErrorClass.SERVER_ERROR
    if code is None or code == RPC_CLOSED:
        return ErrorClass.TRANSIENT
    return ErrorClass.REJECTED


def by_cause(error: Any) -> ErrorClass:
    """By the error that it was made of; a connection that broke where there is none."""
    for name in ("orig", "reason", "__cause__"):
        cause = getattr(error, name, None)
        if isinstance(cause, BaseException):
            found = classify(cause)
            return ErrorClass.TRANSIENT if found is ErrorClass.BUG else found
    return ErrorClass.TRANSIENT


_OF_HTTPX: dict[str, ErrorClass | Callable[[Any], ErrorClass]] = {
    "HTTPStatusError": by_http_status,
    "ConnectError": ErrorClass.NOT_SENT,
    "ConnectTimeout": ErrorClass.NOT_SENT,
    "PoolTimeout": ErrorClass.NOT_SENT,
    "UnsupportedProtocol": ErrorClass.REJECTED,
    "LocalProtocolError": ErrorClass.REJECTED,
    "TransportError": ErrorClass.TRANSIENT,
    "TooManyRedirects": ErrorClass.REJECTED,
    "DecodingError": ErrorClass.SERVER_ERROR,
    "InvalidURL": ErrorClass.REJECTED,
}
_OF_MODELS: dict[str, ErrorClass | Callable[[Any], ErrorClass]] = {
    "ModelRateLimitError": ErrorClass.RATE_LIMITED,
    "ModelQuotaExceededError": ErrorClass.QUOTA,
    "ModelUnavailableError": when_unavailable,
    "ModelServerError": ErrorClass.SERVER_ERROR,
    "ModelContextWindowExceededError": ErrorClass.CONTEXT_OVERFLOW,
    "ModelRequestRejectedError": ErrorClass.REJECTED,
    "ModelTimeoutError": ErrorClass.TIMEOUT,
    "ModelConnectionError": ErrorClass.TRANSIENT,
    "ModelRequestTimeout": ErrorClass.TIMEOUT,
    "ModelHTTPError": by_http_status,
    "ModelAPIError": ErrorClass.SERVER_ERROR,
    "UnexpectedModelBehavior": ErrorClass.SERVER_ERROR,
    "UserError": ErrorClass.REJECTED,
}
# The first name found in the exception's ancestry, nearest first, decides.
CLASS_BY_NAME: dict[str, ErrorClass | Callable[[Any], ErrorClass]] = {
    **{f"pydantic_ai.exceptions.{name}": found for name, found in _OF_MODELS.items()},
    **{f"httpx.{name}": found for name, found in _OF_HTTPX.items()},
    **{f"httpx2.{name}": found for name, found in _OF_HTTPX.items()},
    "openai.APIStatusError": by_http_status,
    "openai.APIConnectionError": by_cause,
    "anthropic.APIStatusError": by_http_status,
    "anthropic.APIConnectionError": by_cause,
    "urllib.error.HTTPError": by_http_status,
    "urllib.error.URLError": by_cause,
    "ssl.SSLCertVerificationError": ErrorClass.REJECTED,
    "ssl.SSLError": ErrorClass.TRANSIENT,
    "aiosmtplib.errors.SMTPRecipientsRefused": by_recipients,
    "aiosmtplib.errors.SMTPResponseException": by_smtp_code,
    "aiosmtplib.errors.SMTPConnectError": ErrorClass.NOT_SENT,
    "aiosmtplib.errors.SMTPServerDisconnected": ErrorClass.TRANSIENT,
    "aiosmtplib.errors.SMTPTimeoutError": ErrorClass.TRANSIENT,
    "aiosmtplib.errors.SMTPNotSupported": ErrorClass.REJECTED,
    "smtplib.SMTPRecipientsRefused": by_recipients,
    "smtplib.SMTPResponseException": by_smtp_code,
    "smtplib.SMTPServerDisconnected": ErrorClass.TRANSIENT,
    "smtplib.SMTPNotSupportedError": ErrorClass.REJECTED,
    "psycopg.errors.ConnectionTimeout": ErrorClass.NOT_SENT,
    "psycopg.errors.TooManyConnections": ErrorClass.NOT_SENT,
    "psycopg.OperationalError": ErrorClass.TRANSIENT,
    "psycopg.IntegrityError": ErrorClass.REJECTED,
    "psycopg.DataError": ErrorClass.REJECTED,
    "psycopg.ProgrammingError": ErrorClass.REJECTED,
    "psycopg.NotSupportedError": ErrorClass.REJECTED,
    "psycopg.InternalError": ErrorClass.SERVER_ERROR,
    "sqlalchemy.exc.DBAPIError": by_cause,
    "mcp.shared.exceptions.MCPError": by_rpc_code,
    "mcp.shared.exceptions.McpError": by_rpc_code,
    "fastmcp.exceptions.NotFoundError": ErrorClass.REJECTED,
    "fastmcp.exceptions.AuthorizationError": ErrorClass.REJECTED,
    "fastmcp.exceptions.ClientError": ErrorClass.TRANSIENT,
    "socket.gaierror": ErrorClass.NOT_SENT,
    "builtins.ConnectionRefusedError": ErrorClass.NOT_SENT,
    "builtins.ConnectionError": ErrorClass.TRANSIENT,
    "builtins.TimeoutError": ErrorClass.TIMEOUT,
    "jobs.lifecycle.effects.NotBegun": ErrorClass.NOT_SENT,
    # Raised by a tool that keeps something, perhaps after its effect.
    "store.errors.Unreachable": ErrorClass.STORE_AWAY,
    "jobs.errors.UnknownModel": ErrorClass.REJECTED,
}

"""From an error to a verdict: a table of exception names, not a ladder of ifs.

    not_sent      it never left this machine: try again, up to three times
    transient     it may have been acted on: again twice, if doing it twice does no harm
    store_away    our own Postgres was away, or full: again for some ten minutes, likewise
    server_error  the other side stumbled: again once, likewise
    rate_limited  told to slow down: never again by itself
    quota         the account is empty: never
    rejected      the request is wrong: never
    in_doubt      it may have happened, and must not happen twice: look, or ask a person
    unanswered    nobody answered in time, and there was no default
    changed       the code it was begun with is gone, and a person would not go on with the new
    crashed       the process of its own that a tool ran in died under it
    poison        the step took its workers down with it: never again by itself
    bug           code of ours or of a tool raised: told to the model, where there is one

Exceptions are told by the names in their ancestry, so nothing has to be imported to classify it.
Waits grow by the try and are drawn from the whole range (full jitter), so that many failures at
once do not come back at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from store.secrets import hide


class ErrorClass(StrEnum):
    """What kind of failure it was; the value is what people and dashboards see."""

    NOT_SENT = "not_sent"
    TRANSIENT = "transient"
    STORE_AWAY = "store_away"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    UNANSWERED = "unanswered"
    CHANGED = "changed"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    CRASHED = "crashed"
    POISON = "poison"
    BUG = "bug"


TRIES_MORE = {
    ErrorClass.NOT_SENT: 3,
    ErrorClass.TRANSIENT: 2,
    ErrorClass.STORE_AWAY: 15,
    ErrorClass.TIMEOUT: 2,
    ErrorClass.SERVER_ERROR: 1,
}
# Classes where it is certain that nothing happened on the other side.
NOTHING_HAPPENED = {
    ErrorClass.NOT_SENT,
    ErrorClass.RATE_LIMITED,
    ErrorClass.QUOTA,
    ErrorClass.REJECTED,
}
WAIT_FIRST_S = 2.0
WAIT_MAX_S = 60.0

# The first name found in the exception's ancestry, nearest first, decides.
CLASS_BY_NAME = {
    "pydantic_ai.exceptions.ModelRateLimitError": ErrorClass.RATE_LIMITED,
    "pydantic_ai.exceptions.ModelQuotaExceededError": ErrorClass.QUOTA,
    "pydantic_ai.exceptions.ModelUnavailableError": ErrorClass.SERVER_ERROR,
    "pydantic_ai.exceptions.ModelServerError": ErrorClass.SERVER_ERROR,
    "pydantic_ai.exceptions.ModelRequestRejectedError": ErrorClass.REJECTED,
    "pydantic_ai.exceptions.ModelConnectionError": ErrorClass.TRANSIENT,
    "pydantic_ai.exceptions.ModelRequestTimeout": ErrorClass.TIMEOUT,
    "pydantic_ai.exceptions.UserError": ErrorClass.REJECTED,
    "pydantic_ai.exceptions.ModelHTTPError": ErrorClass.REJECTED,
    "pydantic_ai.exceptions.UnexpectedModelBehavior": ErrorClass.SERVER_ERROR,
    "httpx.ConnectError": ErrorClass.NOT_SENT,
    "httpx.ConnectTimeout": ErrorClass.NOT_SENT,
    "httpx.PoolTimeout": ErrorClass.NOT_SENT,
    "httpx.TransportError": ErrorClass.TRANSIENT,
    "aiosmtplib.errors.SMTPConnectError": ErrorClass.NOT_SENT,
    "aiosmtplib.errors.SMTPConnectTimeoutError": ErrorClass.NOT_SENT,
    "aiosmtplib.errors.SMTPAuthenticationError": ErrorClass.REJECTED,
    "aiosmtplib.errors.SMTPRecipientsRefused": ErrorClass.REJECTED,
    "aiosmtplib.errors.SMTPRecipientRefused": ErrorClass.REJECTED,
    "aiosmtplib.errors.SMTPSenderRefused": ErrorClass.REJECTED,
    # Any other answer of the server is a refusal for now: it has accepted nothing.
    "aiosmtplib.errors.SMTPResponseException": ErrorClass.NOT_SENT,
    "aiosmtplib.errors.SMTPServerDisconnected": ErrorClass.TRANSIENT,
    "aiosmtplib.errors.SMTPTimeoutError": ErrorClass.TRANSIENT,
    "socket.gaierror": ErrorClass.NOT_SENT,
    "builtins.ConnectionRefusedError": ErrorClass.NOT_SENT,
    "builtins.ConnectionError": ErrorClass.TRANSIENT,
    "builtins.TimeoutError": ErrorClass.TIMEOUT,
    "jobs.lifecycle.effects.NotBegun": ErrorClass.NOT_SENT,
    # Raised by a tool that keeps something, perhaps after its effect.
    "store.errors.Unreachable": ErrorClass.STORE_AWAY,
    "jobs.errors.UnknownModel": ErrorClass.REJECTED,
}

HINTS = {
    ErrorClass.NOT_SENT: "The other side could not be reached. Once it can, replay the job.",
    ErrorClass.TRANSIENT: "The connection broke. Replay the job.",
    ErrorClass.STORE_AWAY: "Look at Postgres and its disk. Once it is well, replay the job.",
    ErrorClass.SERVER_ERROR: "The other side answered with an error of its own. Try again later.",
    ErrorClass.RATE_LIMITED: "The provider asks to slow down; Stepwell does not press it.",
    ErrorClass.QUOTA: "The account at the provider has no credit left.",
    ErrorClass.REJECTED: "The request was refused as it is. Correct it, or the credentials.",
    ErrorClass.IN_DOUBT: "It may have happened. Look on the other side before doing it again.",
    ErrorClass.UNANSWERED: "Replay it to ask again, or give the wait a default.",
    ErrorClass.CHANGED: "Replay it with code that can go on with it, or submit it anew.",
    ErrorClass.TIMEOUT: "It took longer than it may. Raise the limit, or ask for less.",
    ErrorClass.LIMIT: "The job used up what it may use. Raise the agent's limits, or ask for less.",
    ErrorClass.CRASHED: "Give the tool more memory, or ask for less.",
    ErrorClass.POISON: "Look at the memory and the logs of the workers that were lost with it.",
    ErrorClass.BUG: "Code of the agent raised. Its log line on the worker has the traceback.",
}


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the step again after this many seconds."""

    delay_s: float
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TellModel:
    """Settle the step as a failed call, and let the model decide what to do."""

    message: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the job; what it has done so far is kept."""

    error: dict[str, Any]
    reason: ErrorClass


@dataclass(frozen=True, slots=True)
class Doubt:
    """It may have happened, and must not happen twice: find out, by looking or by asking.

    `otherwise` is what to do when it turns out that it did not.
    """

    message: str
    otherwise: Retry | GiveUp


Decided = Retry | TellModel | GiveUp
Verdict = Decided | Doubt


def classify(error: BaseException) -> ErrorClass:
    """What kind of failure this exception is."""
    # A model's connection error says in which phase it broke; before writing, nothing was sent.
    if getattr(error, "phase", None) in ("pool", "connect"):
        return ErrorClass.NOT_SENT
    for ancestor in type(error).__mro__:
        found = CLASS_BY_NAME.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if found is not None:
            return found
    return ErrorClass.BUG


def judge(
    error: BaseException, *, tries: int, is_repeatable: bool, is_tool: bool, draw: random.Random
) -> Verdict:
    """What to do about it. `tries` counts the tries that failed before this one; `is_repeatable`
    says that doing the step twice does no harm."""
    kind = classify(error)
    is_cut_off = kind in (ErrorClass.TIMEOUT, ErrorClass.CRASHED)
    if is_tool and (kind is ErrorClass.BUG or (is_cut_off and is_repeatable)):
        return TellModel(f"The tool failed: {describe(error)}")
    if not is_repeatable and kind not in NOTHING_HAPPENED and kind is not ErrorClass.BUG:
        return Doubt(describe(error), _retry_or_give_up(kind, error, tries, draw))
    return _retry_or_give_up(kind, error, tries, draw)


def _retry_or_give_up(
    kind: ErrorClass, error: BaseException, tries: int, draw: random.Random
) -> Retry | GiveUp:
    if tries < TRIES_MORE.get(kind, 0):
        ceiling_s = min(WAIT_MAX_S, WAIT_FIRST_S * 2**tries)
        return Retry(draw.uniform(0.0, ceiling_s), as_json(kind, error))
    return GiveUp(as_json(kind, error), kind)


def as_json(kind: ErrorClass, error: BaseException | str) -> dict[str, Any]:
    """An error as rows, events and people see it."""
    message = error if isinstance(error, str) else describe(error)
    return {"class": kind.value, "message": message, "hint": HINTS[kind]}


def describe(error: BaseException) -> str:
    """The error in a line, bounded; never a traceback, which may hold a tenant's data."""
    said = " ".join(hide(str(error)).split())
    return f"{type(error).__name__}: {said}"[:500] if said else type(error).__name__

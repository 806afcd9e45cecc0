"""From an error to a verdict: what is done about each class of failure.

    not_sent          again, up to three times: it never left this machine
    transient         again twice, if doing it twice does no harm
    timeout           the same; a tool's is told to the model, where there is one
    store_away        again for some ten minutes, likewise
    server_error      again once, likewise
    rate_limited      never again by itself; or parked until its gate opens, where the agent says so
    quota             never
    rejected          never; a tool's is told to the model, who can ask for something else
    context_overflow  the same
    crashed           a tool's is told to the model, if doing it twice does no harm
    bug               told to the model, where there is one
    all others        never

A call that must not happen twice, and may have happened, is never made again without a word: the
verdict is a doubt. Waits grow by the try and are drawn from the whole range (full jitter), so that
many failures at once do not come back at once.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from jobs.guards.secrets import mask
from jobs.lifecycle.error_classes import ErrorClass, classify
from store.secrets import hide

__all__ = ["ErrorClass", "classify"]

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
# Classes that a model which called a tool can act on.
FOR_THE_MODEL = {ErrorClass.BUG, ErrorClass.REJECTED, ErrorClass.CONTEXT_OVERFLOW}
# Classes after which it helps that the other side is well again.
OF_DEPENDENCY = {
    ErrorClass.NOT_SENT,
    ErrorClass.TRANSIENT,
    ErrorClass.TIMEOUT,
    ErrorClass.SERVER_ERROR,
    ErrorClass.RATE_LIMITED,
    ErrorClass.QUOTA,
    ErrorClass.UNAVAILABLE,
}
WAIT_FIRST_S = 2.0
WAIT_MAX_S = 60.0
# How much of an error's text is read, and how much of that is told.
READ_CHARS, TOLD_CHARS = 10_000, 500

HINTS = {
    ErrorClass.NOT_SENT: "The other side could not be reached. Once it can, replay the job.",
    ErrorClass.TRANSIENT: "The connection broke. Replay the job.",
    ErrorClass.STORE_AWAY: "Look at Postgres and its disk. Once it is well, replay the job.",
    ErrorClass.SERVER_ERROR: "The other side answered with an error of its own. Try again later.",
    ErrorClass.RATE_LIMITED: "The provider asks to slow down; Stepwell does not press it.",
    ErrorClass.QUOTA: "The account at the provider has no credit left.",
    ErrorClass.REJECTED: "The request was refused as it is. Correct it, or the credentials.",
    ErrorClass.CONTEXT_OVERFLOW: "It is too long for the model. Ask for less, or name another.",
    ErrorClass.UNAVAILABLE: "What it calls let nobody through. Once it is well, replay the job.",
    ErrorClass.IN_DOUBT: "It may have happened. Look on the other side before doing it again.",
    ErrorClass.UNANSWERED: "Replay it to ask again, or give the wait a default.",
    ErrorClass.DENIED: "Replay it to ask again, or have the policy changed.",
    ErrorClass.CHANGED: "Replay it with code that can go on with it, or submit it anew.",
    ErrorClass.GUARDED: "See which guard spoke, and ask for something it lets pass.",
    ErrorClass.TIMEOUT: "It took longer than it may. Raise the limit, or ask for less.",
    ErrorClass.LIMIT: "The job used up what it may use. Raise the agent's limits, or ask for less.",
    ErrorClass.FORBIDDEN: "Ask for it over a door that its tools are for; a replay is no other.",
    ErrorClass.BUDGET: "Raise the budget, then replay the job.",
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


def judge(
    error: BaseException, *, tries: int, is_repeatable: bool, is_tool: bool, draw: random.Random
) -> Verdict:
    """What to do about it. `tries` counts the tries that failed before this one; `is_repeatable`
    says that doing the step twice does no harm."""
    kind = classify(error)
    is_cut_off = kind in (ErrorClass.TIMEOUT, ErrorClass.CRASHED)
    if is_tool and (kind in FOR_THE_MODEL or (is_cut_off and is_repeatable)):
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
    """The error in a line, bounded; never a traceback, which may hold a tenant's data.

    What looks like a secret is masked, whatever the guards of an agent are, before it is cut.
    """
    said = " ".join(hide(str(error)).split())[:READ_CHARS]
    told = mask(said, Counter())[:TOLD_CHARS]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__

"""Waiting: what a step may return when it is not done yet, but waits for something.

A step that returns one of these is parked and holds nothing: no thread, no connection, no claim.
What it waited for becomes its result.

    Sleep       a time            the result is `value`
    WaitFor     a signal          the result is what was sent with it
    AskUser     a person          the result is the answer
    Delegate    jobs of its own   the result is how each of them ended

A wait that expires has its default for a result. Without a default the call has failed: a model is
told so; the job of a pipeline fails as `unanswered`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from math import isfinite
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from jobs.errors import Misdeclared

WAIT_MAX = timedelta(days=3653)
SIGNAL_CHARS_MAX = 200
QUESTION_CHARS_MAX = 10_000
CHOICES_MAX = 100
CHOICE_CHARS_MAX = 200
CHILDREN_MAX = 100


class Nothing(Enum):
    """The type of `NOTHING`, which is no default at all; None is a default like any other."""

    NOTHING = "nothing"

    def __repr__(self) -> str:
        return self.name


NOTHING: Final = Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class Sleep:
    """Go on after `seconds`, or at the moment `until`, with `value` as the result.

    A moment that has passed is waited for no time at all. Raises `Misdeclared`.
    """

    seconds: float | None = None
    until: datetime | None = None
    value: Any = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.until is None):
            raise Misdeclared("Sleep takes either seconds or until.")
        if self.seconds is not None:
            _check_seconds("Sleep", self.seconds)
        if self.until is not None:
            _check_moment(self.until)
        _check_json("The value of Sleep", self.value)


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Go on when a signal of this name is sent to the job; what came with it is the result.

    It may have been sent before. Each signal is consumed by one wait. Raises `Misdeclared`.
    """

    signal: str
    expires_s: float | None = None
    default: Any = NOTHING

    def __post_init__(self) -> None:
        _check_text("The signal of WaitFor", self.signal, SIGNAL_CHARS_MAX)
        _check_expiry("WaitFor", self.expires_s, self.default)


@dataclass(frozen=True, slots=True)
class AskUser:
    """Ask a person; the answer is the result. With `choices`, it is one of them.

    Raises `Misdeclared`.
    """

    question: str
    choices: tuple[str, ...] = ()
    expires_s: float | None = None
    default: Any = NOTHING

    def __post_init__(self) -> None:
        _check_text("The question of AskUser", self.question, QUESTION_CHARS_MAX)
        object.__setattr__(self, "choices", _checked_choices(self.choices))
        _check_expiry("AskUser", self.expires_s, self.default)
        if self.choices and self.default is not NOTHING and self.default not in self.choices:
            raise Misdeclared(
                f"The default {self.default!r} of AskUser is none of its choices: "
                f"{', '.join(self.choices)}."
            )


@dataclass(frozen=True, slots=True)
class Child:
    """A job to be made for another agent. `deadline_s` counts from when it is made.

    Raises `Misdeclared`.
    """

    agent: str
    input: dict[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        _check_text("The agent of Child", self.agent, SIGNAL_CHARS_MAX)
        if not isinstance(self.input, dict):
            raise Misdeclared(f"The input of Child is a dict, not {_name(self.input)}.")
        _check_json("The input of Child", self.input)
        if self.deadline_s is not None:
            _check_seconds("The deadline of Child", self.deadline_s, above_zero=True)


@dataclass(frozen=True, slots=True, init=False)
class Delegate:
    """Make jobs for other agents, and go on when all of them have ended, however they did.

    The result is a list in their order of `{"job_id", "status", "output", "error"}`. What has not
    ended after `expires_s` ends as `expired`. Raises `Misdeclared`.
    """

    children: tuple[Child, ...]
    expires_s: float | None

    def __init__(self, *children: Child, expires_s: float | None = None) -> None:
        if not 1 <= len(children) <= CHILDREN_MAX:
            raise Misdeclared(
                f"Delegate takes between 1 and {CHILDREN_MAX} children, not {len(children)}."
            )
        for child in children:
            if not isinstance(child, Child):
                raise Misdeclared(f"Delegate takes Child(agent, input), not {_name(child)}.")
        object.__setattr__(self, "children", children)
        object.__setattr__(self, "expires_s", expires_s)
        _check_expiry("Delegate", expires_s)


Wait = Sleep | WaitFor | AskUser | Delegate


def _check_seconds(what: str, seconds: object, *, above_zero: bool = False) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise Misdeclared(f"{what} takes a number of seconds, not {_name(seconds)}.")
    if not isfinite(seconds) or seconds < 0 or (above_zero and seconds == 0):
        raise Misdeclared(f"{what} cannot take {seconds:g} seconds.")
    if seconds > WAIT_MAX.total_seconds():
        raise Misdeclared(f"{what} cannot take {seconds:g} seconds: that is more than ten years.")


def _check_moment(until: object) -> None:
    if not isinstance(until, datetime):
        raise Misdeclared(f"Sleep takes a datetime for until, not {_name(until)}.")
    if until.utcoffset() is None:
        raise Misdeclared(
            f"Sleep cannot tell when {until.isoformat()} is: give it a timezone, "
            "such as datetime.now(UTC) has."
        )
    if until - datetime.now(UTC) > WAIT_MAX:
        raise Misdeclared(f"Sleep until {until.isoformat()} would take more than ten years.")


def _check_text(what: str, text: object, chars_max: int) -> None:
    if not isinstance(text, str):
        raise Misdeclared(f"{what} is a text, not {_name(text)}.")
    if not text.strip():
        raise Misdeclared(f"{what} is empty.")
    if len(text) > chars_max:
        raise Misdeclared(f"{what} has {len(text):,} characters; {chars_max:,} are the most.")


def _check_expiry(what: str, expires_s: float | None, default: Any = NOTHING) -> None:
    if expires_s is not None:
        _check_seconds(f"The expiry of {what}", expires_s, above_zero=True)
    if default is NOTHING:
        return
    if expires_s is None:
        raise Misdeclared(f"{what} never expires, so its default would never be used.")
    _check_json(f"The default of {what}", default)


def _checked_choices(choices: Sequence[str]) -> tuple[str, ...]:
    # A lone string is a sequence too, of its letters.
    if not isinstance(choices, list | tuple):
        raise Misdeclared(f"The choices of AskUser are a list of texts, not {_name(choices)}.")
    if len(choices) > CHOICES_MAX:
        raise Misdeclared(f"AskUser takes at most {CHOICES_MAX} choices, not {len(choices)}.")
    for choice in choices:
        _check_text("A choice of AskUser", choice, CHOICE_CHARS_MAX)
    if len(set(choices)) < len(choices):
        raise Misdeclared("Two choices of AskUser are the same.")
    return tuple(choices)


def _check_json(what: str, value: Any) -> None:
    try:
        to_json(value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Misdeclared(f"{what} cannot be kept as JSON: {error}") from None


def _name(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:50]!r}"

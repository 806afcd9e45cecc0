"""Evidence: the numbers that were recorded, and whether a number in a sentence is one of them.

A number in a sentence is grounded, by the first of these that holds:

    cell        a recorded number is the same
    rounded     a recorded number, rounded to as many places, is the same (two digits at least)
    percent     a recorded share between 0 and 1 is the same as a percentage
    words       it stands so in a recorded text: a date, a time, the name of a column
    asked       it stands in what was asked
    derived     it is the difference, the sum, the ratio or the relative change of two numbers of
                the same sentence that are grounded themselves
    share       it is a percentage, and one recorded number's part of the sum of its column

Signs may be said in words ("fell by 5.2"), so a number without one is held against sizes. Numbers
that are spelled out in letters are not looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, DivisionByZero, InvalidOperation, localcontext
from itertools import permutations
from typing import Any

from jobs.guards.numbers import Reading, Said, read_numbers

# More recorded numbers than this are not looked through; the rest counts as not recorded.
NUMBERS_MAX = 1_000_000
# A rounded number of one digit would fit nearly anything.
ROUNDED_DIGITS_MIN = 2
# Sums of columns are tried for short results only, and derivations for short sentences.
COLUMN_ROWS_MAX, SENTENCE_NUMBERS_MAX = 60, 12
YEAR_MIN = 1000
HALF = Decimal("0.5")
HUNDRED = Decimal(100)


@dataclass
class Evidence:
    """What was recorded. Add to it first, then ask."""

    numbers: list[Decimal] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    asked: list[Decimal] = field(default_factory=list)
    columns: list[list[Decimal]] = field(default_factory=list)
    _sizes: list[Decimal] | None = None

    def add_value(self, value: Any) -> None:
        """A JSON value: its numbers, and the numbers in its texts."""
        waiting = [value]
        while waiting and len(self.numbers) < NUMBERS_MAX:
            part = waiting.pop()
            if isinstance(part, str):
                self.add_text(part)
            elif isinstance(part, dict):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, list | tuple):
                waiting += part
            elif (number := as_decimal(part)) is not None:
                self.numbers.append(number)

    def add_text(self, text: str) -> None:
        """A text that was recorded: what stands in it may be said again."""
        if not any(sign.isdigit() for sign in text):
            return
        self.texts.append(text)
        for said in read_numbers(text):
            self.numbers += [reading.value for reading in said.readings]
            # The year of a date may be said alone.
            self.numbers += [Decimal(part) for part in said.parts if part >= YEAR_MIN]

    def add_asked(self, text: str) -> None:
        """A text of whoever asked."""
        self.texts.append(text)
        self.asked += [r.value for said in read_numbers(text) for r in said.readings]

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """The rows of a result, whose columns may be added up."""
        self.add_value(list(rows))
        if not rows or len(rows) > COLUMN_ROWS_MAX:
            return
        for cells in zip(*rows, strict=False):
            numbers = [number for cell in cells if (number := as_decimal(cell)) is not None]
            if len(numbers) > 1 and min(numbers) >= 0 and sum(numbers) > 0:
                self.columns.append(numbers)

    def how(self, said: Said) -> str | None:
        """By which of the ways above the number is grounded by itself, if by any."""
        if said.kind != "number":
            return self._how_of_moment(said)
        for way, holds in self._ways(said):
            if any(holds(reading) for reading in said.readings):
                return way
        return "words" if self._stands_in_texts(said.written) else None

    def _ways(self, said: Said) -> Iterator[tuple[str, Callable[[Reading], bool]]]:
        signed = said.is_signed
        yield "cell", lambda r: self._has(r.value, Decimal(0), signed=signed)
        if said.digits >= ROUNDED_DIGITS_MIN:
            yield "rounded", lambda r: self._has(r.value, r.step * HALF, signed=signed)
        if said.is_percent:
            yield (
                "percent",
                lambda r: self._has(r.value / HUNDRED, r.step / HUNDRED * HALF, signed=signed),
            )
        yield "asked", lambda r: r.value in self.asked
        if said.is_percent:
            yield "share", self._is_share

    def _has(self, value: Decimal, slack: Decimal, *, signed: bool) -> bool:
        """Whether a recorded number is that, give or take; without a sign, whether its size is."""
        if self._sizes is None:
            self.numbers.sort()
            self._sizes = sorted(abs(number) for number in self.numbers)
        among = self.numbers if signed else self._sizes
        at = bisect_left(among, value - slack)
        return at < len(among) and among[at] <= value + slack

    def _is_share(self, reading: Reading) -> bool:
        slack = reading.step * HALF
        for numbers in self.columns:
            total = sum(numbers)
            if any(abs(n * HUNDRED / total - reading.value) <= slack for n in numbers):
                return True
        return False

    def _how_of_moment(self, said: Said) -> str | None:
        if self._stands_in_texts(said.written):
            return "words"
        if said.kind == "date":
            return None
        # 05:00 may be recorded as the hour 5, 05:17 as the number 517.
        hour, minute = said.parts[:2]
        whole = self._knows(Decimal(hour * 100 + minute))
        return "cell" if whole or (minute == 0 and self._knows(Decimal(hour))) else None

    def _knows(self, number: Decimal) -> bool:
        return self._has(number, Decimal(0), signed=False) or number in self.asked

    def _stands_in_texts(self, written: str) -> bool:
        """Whether it stands so in a recorded text, not as a part of another number."""
        return any(_stands_in(written, text) for text in self.texts if written in text)


def _stands_in(written: str, text: str) -> bool:
    at = text.find(written)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(written) : at + len(written) + 2]
        goes_on = after[:1].isdigit() or (after[:1] in ".,:" and after[1:].isdigit())
        if not (before.isdigit() or (before in (".", ",", "-") and before) or goes_on):
            return True
        at = text.find(written, at + 1)
    return False


def as_decimal(value: Any) -> Decimal | None:
    """The number a JSON value is, by its written digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None


# --- what is derived from others ------------------------------------------------------------------


def derived(said: Said, others: Iterable[Said]) -> str | None:
    """How the number follows from two others of its sentence, if it does."""
    if said.kind != "number" or said.digits < 1:
        return None
    values = [r.value for other in others if other.kind == "number" for r in other.readings]
    for first, second in permutations(values[: 2 * SENTENCE_NUMBERS_MAX], 2):
        for name, result in _combinations(first, second, is_percent=said.is_percent):
            if any(_fits(result, reading, signed=said.is_signed) for reading in said.readings):
                return f"{name} of {first} and {second}"
    return None


def _combinations(
    first: Decimal, second: Decimal, *, is_percent: bool
) -> Iterator[tuple[str, Decimal]]:
    with localcontext() as context:
        context.prec = 28
        yield "difference", first - second
        if not is_percent:
            yield "sum", first + second
        try:
            ratio = first / second
        except (DivisionByZero, InvalidOperation):
            return
        if is_percent:
            yield "share", ratio * HUNDRED
            yield "change", (ratio - 1) * HUNDRED
        else:
            yield "ratio", ratio


def _fits(result: Decimal, reading: Reading, *, signed: bool) -> bool:
    told = result if signed else abs(result)
    return abs(told - reading.value) <= reading.step * HALF

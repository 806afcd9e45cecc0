"""Numbers as people write them in sentences: which there are, and what each may mean.

A number is read with its sign, its separators, its decimals, and a `%`, `k`, `million` or the like
behind it. `1,234` may be a thousand in one country and one in another, so it has two readings.
What is part of a name (`F9`, `q3`), an ordinal (`90th`) or the number of a list's item is none.
Dates and times of day are read whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

_SCALES = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "b": 9, "bn": 9, "billion": 9, "t": 12,
    "tn": 12, "trillion": 12,
}  # fmt: skip
_DATE = (
    r"\d{4}-\d{2}(?:-\d{2})?(?:[T ]\d{2}:\d{2}(?::\d{2})?)?(?![\d-])"
    r"|\d{1,2}[./]\d{1,2}[./]\d{4}"
)
_TIME = r"\d{1,2}:\d{2}(?::\d{2})?"
_GROUPED = r"\d{1,3}(?:[,.'’\u00a0\u2009\u202f ]\d{3})+(?!\d)(?:[.,]\d+)?"
_PLAIN = r"\d+(?:[.,]\d+)*(?:[eE][+-]?\d{1,3})?"
_SCALE = r"[ \u00a0]?(?:thousand|million|billion|trillion|mn|bn|tn|[kMBT])(?![\w])"
_PERCENT = r"[ \u00a0]?(?:%|percent\b|per cent\b)"
NUMBER = re.compile(
    rf"(?<![\w.#])(?P<sign>[-−–+](?=\d))?(?:(?P<date>{_DATE})|(?P<time>{_TIME})"
    rf"|(?P<number>{_GROUPED}|{_PLAIN})(?P<scale>{_SCALE})?(?P<percent>{_PERCENT})?)"
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
# At the beginning of a line, with white space behind it.
_ITEM = re.compile(r"(?m)^[ \t]*(\d{1,2})[.)](?=[ \t])")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a number may mean; `step` is the value of one more in its last digit."""

    value: Decimal
    step: Decimal


@dataclass(frozen=True, slots=True)
class Said:
    """One number of a sentence: as it is written, its readings, and the sentence around it."""

    written: str
    readings: tuple[Reading, ...]
    digits: int
    is_signed: bool = False
    is_percent: bool = False
    # Of a date or a time of day: what it is, and its parts.
    kind: str = "number"
    parts: tuple[int, ...] = ()
    sentence: int = 0


def read_numbers(text: str) -> list[Said]:
    """Every number in the text, in order."""
    items = {match.start(1) for match in _ITEM.finditer(text)}
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s)|\n", text)]
    return [
        said
        for match in NUMBER.finditer(text)
        if match.start() not in items
        and (said := _read(match, text, sum(end <= match.start() for end in ends))) is not None
    ]


def _read(match: re.Match[str], text: str, sentence: int) -> Said | None:
    if match["date"] or match["time"]:
        kind, written = ("date", match["date"]) if match["date"] else ("time", match["time"])
        parts = tuple(int(part) for part in re.findall(r"\d+", written))
        return Said(written, (), len(written), kind=kind, parts=parts, sentence=sentence)
    if _ORDINAL.match(text, match.end("number")):
        return None
    scale = _SCALES.get((match["scale"] or "").strip().casefold(), 0)
    # Between two numbers a dash is a range, not a sign.
    is_range = match["sign"] is not None and bool(re.search(r"\d\s?$", text[: match.start()]))
    is_negative = match["sign"] not in (None, "+") and not is_range
    return Said(
        match[0].strip(),
        tuple(_readings(match["number"], scale, is_negative=is_negative)),
        len(re.sub(r"\D", "", match["number"]).lstrip("0")),
        is_signed=is_negative,
        is_percent=match["percent"] is not None,
        sentence=sentence,
    )


def _readings(written: str, scale: int, *, is_negative: bool) -> Iterator[Reading]:
    seen = set()
    for plain in _spellings(written):
        try:
            value = Decimal(plain).scaleb(scale)
        except InvalidOperation:
            continue
        exponent = value.as_tuple().exponent
        step = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
        if value not in seen:
            seen.add(value)
            yield Reading(-value if is_negative else value, step)


def _spellings(written: str) -> Iterator[str]:
    """The number with a point for its decimals and nothing else, in each way it can be meant."""
    bare = re.sub(r"['’\u00a0\u2009\u202f ]", "", written)
    points, commas = bare.count("."), bare.count(",")
    if points and commas:
        last = max(bare.rfind("."), bare.rfind(","))
        yield re.sub(r"[.,]", "", bare[:last]) + "." + bare[last + 1 :]
        return
    separator = "." if points else ","
    if points + commas == 0:
        yield bare
        return
    if points + commas == 1:
        yield bare.replace(separator, ".")
    groups = re.split(r"[.,]", bare)
    if len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:]):
        yield "".join(groups)

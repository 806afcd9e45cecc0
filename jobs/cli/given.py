"""What people give on the command line: JSON in place or behind an @, and durations."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from jobs.cli.speech import Complaint

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def read_object(raw: str, option: str) -> dict[str, Any]:
    """A JSON object; a `Complaint` for anything else."""
    given = read_json(raw, option)
    if not isinstance(given, dict):
        source = raw[1:] if raw.startswith("@") else option
        raise Complaint(f"{source} is JSON, but not an object with names and values.")
    return given


def read_json(raw: str, option: str) -> Any:
    """The JSON in `raw`, or in the file it names as `@file`; a `Complaint` when there is none."""
    source, text = option, raw
    if raw.startswith("@"):
        source = raw[1:]
        text = _read_file(source)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = f"""{option} '{{"name": "value"}}' or {option} @file.json"""
        raise Complaint(f"{source} is not JSON: {error}.", hint=hint) from None
    return given


def refuse_what_is_not_json(given: Any, what: str) -> None:
    """Python reads NaN and halves of characters without a word; JSON has neither."""
    try:
        json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Complaint(f"{what} has a text that is not UTF-8.") from None
    except ValueError:
        raise Complaint(f"{what} has a number that is not finite.") from None


def read_span(raw: str, option: str) -> float:
    """Seconds, from `90s`, `30m`, `1h30m` or `7d`; a `Complaint` for what is no duration.

    >>> read_span("1h30m", "--deadline")
    5400.0
    """
    parts = PART.findall(raw.strip().lower())
    seconds = sum(float(number) * UNITS_S[unit] for number, unit in parts)
    is_whole = "".join(number + unit for number, unit in parts) == raw.strip().lower()
    if not is_whole or not 0 < seconds < math.inf:
        raise Complaint(
            f"{option} takes a time such as 90s, 30m, 2h or 7d, not {raw!r}.",
            hint=f"{option} 30m",
        )
    return seconds


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except OSError as error:
        raise Complaint(f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Complaint(f"{name} is not UTF-8 text, so it is not JSON.") from None

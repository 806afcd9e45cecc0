"""JSON as it can be kept: Python reads more than JSON is, and Postgres keeps less."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator

DEPTH_MAX = 50
# What a person or another system sends to a running job; large things are uploaded and named.
SAID_BYTES_MAX = 256 * 1024


def check_json(value: Any) -> Any:
    """The value itself; a `ValueError` for NaN, halves of characters, nesting without an end."""
    if _is_deeper_than(DEPTH_MAX, value):
        raise ValueError(f"is nested more than {DEPTH_MAX} levels deep")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("has a text with half of a character in it") from None
    except ValueError:
        raise ValueError("has a number that is not finite") from None
    return value


def check_said(value: Any) -> Any:
    """The same for an answer or a signal: it is kept to the letter, or not at all."""
    text = json.dumps(check_json(value))
    if len(text) > SAID_BYTES_MAX:
        raise ValueError(f"has {len(text):,} bytes; at most {SAID_BYTES_MAX:,} are taken")
    if "\\u0000" in text and _has_nul(value):
        raise ValueError("has a NUL character, which cannot be kept")
    return value


# JSON that somebody says to a running job.
Said = Annotated[Any, AfterValidator(check_said)]


def _is_deeper_than(levels: int, value: object) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper_than(levels - 1, item) for item in inside)


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any("\x00" in key or _has_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\x00" in value

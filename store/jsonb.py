"""JSON as Postgres can keep it: what `jsonb` refuses is replaced, so that no result is refused.

A model or a tool may answer with a NUL, half a surrogate pair, or a number that is none. A commit
that fails on it would leave its step running for ever, under a worker that is well.
"""

from __future__ import annotations

import json
import math
from typing import Any

_REPLACEMENT = "\ufffd"
# `json.dumps` makes a new one at every call with an option.
_encode = json.JSONEncoder(allow_nan=False).encode


def write_json(value: Any) -> str:
    """The value as JSON text that `jsonb` takes."""
    try:
        text = _encode(value)
    except ValueError:
        return _encode(keepable(value))
    # Both look like this when they are there; text that only looks like it costs one more walk.
    return _encode(keepable(value)) if "\\u0000" in text or "\\ud" in text else text


def keepable(value: Any) -> Any:
    """The same JSON value without what Postgres cannot keep."""
    if isinstance(value, str):
        return _keepable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {keepable(key): keepable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [keepable(item) for item in value]
    return value


def _keepable_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", _REPLACEMENT) if "\x00" in text else text

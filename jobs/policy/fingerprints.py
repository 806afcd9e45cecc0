"""Fingerprints: one hash for JSON wherever two of them are compared, and the faces of functions.

The canonical text of a JSON value is what the hash is over. It is the same for two values exactly
when Postgres would keep them as the same value: names are sorted, numbers are written by their
value (1, 1.0 and 1e0 are one number, and true is none), and what cannot be kept is replaced first,
as it is when it is stored. A value may go into a row and come back, and its hash stays.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import CodeType
from typing import Any

from store.jsonb import keepable

# How far a function's face follows the functions it uses.
FACE_DEPTH = 2

_SCALARS = (str, bytes, int, float, bool, type(None), Decimal, date, time, timedelta, Enum)


def sha256_of(value: Any) -> str:
    """The hash of a JSON value, in hex; raises `TypeError` for what is not JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """The one text of a JSON value, in ASCII; raises `TypeError` for what is not JSON.

    >>> canonical_json({"b": [1.0, True, None], "a": 1500})
    '{"a":15e2,"b":[1e0,true,null]}'
    """
    return _written(keepable(value))


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        # Without its own class: an enum that is a text would say its name.
        return json.dumps(str.__str__(value))
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        named = (f"{json.dumps(name)}:{_written(value[name])}" for name in sorted(value))
        return "{" + ",".join(named) + "}"
    raise TypeError(f"{type(value).__name__} is not JSON.")


def _number(value: float) -> str:
    """Digits and an exponent, each number in one way only.

    A float is the shortest decimal that means it, which is what is written and stored of it.
    """
    decimal = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    sign, digits, exponent = decimal.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    if not kept:
        return "0e0"
    assert isinstance(exponent, int)  # noqa: S101 - what cannot be kept is no number here
    return f"{'-' * sign}{kept}e{exponent + len(text) - len(kept)}"


# --- functions ------------------------------------------------------------------------------------


def face_of(function: Callable[..., Any]) -> str:
    """What a function is, as far as its text and the plain values it uses tell.

    Its source, or its code where there is none, its defaults, and the values of the names it takes
    from around it: those of the function that made it, and those of its module. Functions among
    them are followed a little way. Two that do the same may have two faces; what changes a face is
    a change to the code.
    """
    return _face(function, FACE_DEPTH)


def _face(function: Any, depth: int) -> str:
    if isinstance(function, functools.partial):
        inner = [_worth(function.args, depth), _worth(function.keywords, depth)]
        return "\n".join([_face(function.func, depth), *inner])
    if not isinstance(getattr(function, "__code__", None), CodeType):
        called = getattr(type(function).__call__, "__code__", None)
        own = _worth(getattr(function, "__dict__", {}), depth)
        inner = [_face(type(function).__call__, depth)] if called is not None else []
        return "\n".join([_type_name(function), own, *inner])
    around = _names_around(function)
    used = [f"{name}={_worth(around[name], depth - 1)}" for name in sorted(around)]
    defaults = [_worth(function.__defaults__, depth), _worth(function.__kwdefaults__, depth)]
    return "\n".join([_source(function), *defaults, *used])


def _source(function: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        return _code(function.__code__)


def _code(code: CodeType) -> str:
    consts = [_code(c) if isinstance(c, CodeType) else _worth(c, 0) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {consts}"


def _names_around(function: Any) -> dict[str, Any]:
    """The values of the names that a function uses and does not make itself."""
    code, module = function.__code__, function.__globals__
    found = {name: module[name] for name in code.co_names if name in module}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # A name that is given its value later.
    return found


def _worth(value: Any, depth: int) -> str:
    """A value as text that is the same in every process; of the rest, what type it is of."""
    if isinstance(value, _SCALARS):
        return repr(value)
    if isinstance(value, re.Pattern):
        return f"re {value.pattern!r} {value.flags}"
    if isinstance(value, Mapping):
        return repr(sorted((repr(key), _worth(each, depth)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return repr([_worth(each, depth) for each in value])
    if isinstance(value, set | frozenset):
        return repr(sorted(_worth(each, depth) for each in value))
    if depth > 0 and inspect.isfunction(value):
        return _face(value, depth - 1)
    return _type_name(value)


def _type_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"

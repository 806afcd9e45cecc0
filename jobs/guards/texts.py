"""Texts inside JSON values: find them, and put others in their place, names of fields included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def texts_in(value: Any) -> Iterator[str]:
    """Every text in the value, and every name of a field."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            yield from (key for key in part if isinstance(key, str))
            waiting.extend(reversed(part.values()))
        elif isinstance(part, list | tuple):
            waiting.extend(reversed(part))


def with_texts(value: Any, rewrite: Callable[[str], str]) -> Any:
    """The value with every text, and every name of a field, as `rewrite` gives it."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, dict):
        return {
            rewrite(key) if isinstance(key, str) else key: with_texts(item, rewrite)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [with_texts(item, rewrite) for item in value]
    return value


def texts_at(value: Any, path: str) -> Iterator[str]:
    """The texts at a path of field names such as `sections.text`; lists are walked through."""
    yield from texts_in(list(_parts_at(value, path.split("."))))


def leaves_at(value: Any, path: str) -> Iterator[Any]:
    """Everything but null at a path of field names, lists and objects taken apart."""
    waiting = list(_parts_at(value, path.split(".")))
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            waiting += [*part, *part.values()]
        elif isinstance(part, list | tuple):
            waiting += part
        elif part is not None:
            yield part


def _parts_at(value: Any, names: Sequence[str]) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts_at(item, names)
    elif not names:
        yield value
    elif isinstance(value, Mapping) and value.get(names[0]) is not None:
        yield from _parts_at(value[names[0]], names[1:])

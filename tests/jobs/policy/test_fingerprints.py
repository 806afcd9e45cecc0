"""One hash for JSON: the same when the value is kept as the same, another when it is not."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from jobs.policy.fingerprints import canonical_json, face_of, sha256_of
from store.jsonb import keepable, write_json
from tests.conftest import Database

leaves = (
    some.none()
    | some.booleans()
    | some.integers(-(2**70), 2**70)
    | some.floats()
    | some.text(max_size=5)
)
values = some.recursive(
    leaves,
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def are_same(one: Any, two: Any) -> bool:
    """Whether two JSON values are the same, said without any hash."""
    if isinstance(one, bool) or isinstance(two, bool) or one is None or two is None:
        return one is two
    if isinstance(one, int | float) and isinstance(two, int | float):
        return Decimal(repr(one)) == Decimal(repr(two))
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(are_same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(are_same(one[k], two[k]) for k in one)
    return isinstance(one, str) and isinstance(two, str) and one == two


@given(values, values)
@example(1, True)
@example(1, 1.0)
@example(0.0, -0.0)
@example(1e22, 10**22)
@example(1e23, 99999999999999991611392)
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example(["ab"], ["a", "b"])
@example("1", 1)
@example(None, "null")
@example({"a": None}, {})
def test_the_hash_changes_exactly_when_the_value_does(one: Any, two: Any) -> None:
    is_same = are_same(keepable(one), keepable(two))
    assert (sha256_of(one) == sha256_of(two)) is is_same
    assert (canonical_json(one) == canonical_json(two)) is is_same


@given(values)
def test_the_hash_of_a_value_is_that_of_itself_read_again(value: Any) -> None:
    assert sha256_of(json.loads(write_json(value))) == sha256_of(value)


AWKWARD = [
    {"float": 1e22, "more": 1.5e300, "small": 5e-324, "minus": -0.0, "half": 0.1, "whole": 100.0},
    {"nan": float("nan"), "nul": "a\x00b", "half": "\ud83d", "pair": "\ud83d\ude00", "é": [2**80]},
    {"z": 1, "a": {"b": [], "a": {}}, "": None, "deep": [[[[1.0]]]]},
]


@pytest.mark.parametrize("value", AWKWARD)
def test_the_hash_stays_when_postgres_has_kept_the_value(database: Database, value: Any) -> None:
    with psycopg.connect(database.admin_url) as admin:
        row = admin.execute("select %s::jsonb", (write_json(value),)).fetchone()
    assert row is not None
    assert sha256_of(row[0]) == sha256_of(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), {1: 2}, b"bytes", Decimal(1)])
def test_what_is_not_json_has_no_hash(value: Any) -> None:
    with pytest.raises(TypeError, match="is not JSON"):
        sha256_of({"value": value})


# --- functions ------------------------------------------------------------------------------------

LIMIT = 100
WORDS = {"b", "a"}


def over_limit(amount: int) -> bool:
    return amount > LIMIT and str(amount) not in WORDS


def uses_another(amount: int) -> bool:
    return over_limit(amount)


def over(limit: int) -> Callable[[int], bool]:
    return lambda amount: amount > limit


def test_a_face_changes_with_what_a_function_takes_from_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert face_of(over(1)) == face_of(over(1)) != face_of(over(2))
    before = face_of(over_limit), face_of(uses_another)
    assert before == (face_of(over_limit), face_of(uses_another))
    monkeypatch.setitem(globals(), "LIMIT", 200)
    assert face_of(over_limit) != before[0]
    assert face_of(uses_another) != before[1]


def test_a_face_is_the_same_in_every_process() -> None:
    """Nothing in it depends on where something lies in memory, or on the order of a set."""
    face = face_of(over_limit)
    assert "['a', 'b']" in face.replace('"', "")
    assert not re.search(r"0x[0-9a-f]{6}", face_of(functools.partial(over_limit, object())))


def test_functions_without_a_source_have_faces_too() -> None:
    def made(text: str) -> Any:
        space: dict[str, Any] = {}
        exec(text, space)
        return space["rule"]

    one, two = made("rule = lambda a: a > 1"), made("rule = lambda a: a > 2")
    assert face_of(one) == face_of(made("rule = lambda a: a > 1")) != face_of(two)


def test_a_callable_object_is_what_it_holds() -> None:
    class Over:
        def __init__(self, limit: int) -> None:
            self.limit = limit

        def __call__(self, amount: int) -> bool:
            return amount > self.limit

    assert face_of(Over(1)) == face_of(Over(1)) != face_of(Over(2))
    assert face_of(functools.partial(over, 1)) != face_of(functools.partial(over, 2))


def test_a_function_that_uses_itself_has_a_face() -> None:
    def again(n: int) -> int:
        return again(n - 1) if n else 0

    assert "again" in face_of(again)

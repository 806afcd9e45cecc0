"""Expressions: CEL as tenants may write it, compiled once, with a bound on what it can cost.

An expression runs in the worker that serves everybody, and nothing can interrupt it there. So what
it could come to is bounded before it runs. It is short; of the loops of CEL it has `all` and
`exists`, a few of them, and neither `map`, `filter` nor, beside a loop, `+`, by which values would
grow. What is left touches each character of the call at most once for each character of the
expression, and in a loop once more for each item of the longest list. Where that product is too
large the expression is not run, which makes it one that failed.

The library (https://crates.io/crates/cel) is strict where it matters: a field that is not there and
types that do not compare raise. It gives up on an expression that is nested too deep; values that
are nested too deep are refused here, because it would follow them to the end of its stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

import cel
from pydantic_core import to_jsonable_python

from jobs.policy.rules import Args
from store.invocation import Invocation

T = TypeVar("T")

CHARS_MAX = 1_000
LOOPS_MAX = 3
# The worst that was found takes about a second at this bound; ordinary ones stay far below it.
WORK_MAX = 4_000_000_000
DEPTH_MAX = 32
COMPILED_MAX = 2_000

KNOWN = frozenset({"args", "invocation", "tool"})
# What can be called in an expression. Operators are functions, too, with names of another kind.
FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "has", "in", "type", "dyn"}
    | {"int", "uint", "double", "string", "bool", "bytes", "timestamp", "duration"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes"}
)
PLUS = "_+_"
# Found in the text, where they are at least as often as they are run: also in what is quoted.
LOOPS = re.compile(r"\.\s*(?:all|exists)\s*\(")
BOUND = re.compile(r"\.\s*(?:all|exists)\s*\(\s*([A-Za-z_]\w*)\s*,")
GROWTH = re.compile(r"\.\s*(map|filter|exists_?[oO]ne|bind|block|fold|opt\w*Map|transform\w*)\s*\(")


class Unreadable(ValueError):
    """The expression says nothing: it may not be written so, or it fails at this call."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What expressions are told of one call, and how much that is."""

    told: Mapping[str, Any]
    chars: int
    items_max: int
    depth: int

    @classmethod
    def of(cls, args: Args, invocation: Invocation, *, tool: str, effect: str) -> Facts:
        """The facts of a call. Arguments that are not JSON leave none, and no rule is readable."""
        try:
            plain = to_jsonable_python(dict(args))
        except Exception:  # noqa: BLE001 - whatever a value does when it is written down
            return cls({}, 0, 0, DEPTH_MAX + 1)
        told = {
            "args": plain,
            "invocation": _describe(invocation),
            "tool": {"name": tool, "effect": effect},
        }
        return cls(told, *_measure(told))


def check_expression(expression: str) -> None:
    """Raise `ValueError`, with what to do about it, for what tenants may not write."""
    _program(expression)


def evaluate(expression: str, facts: Facts) -> bool:
    """Whether the expression holds for the call. Raises `Unreadable` when that cannot be said."""
    # A rule that came into the table in another way than ours has to keep the bounds, too.
    program = _program(expression)
    if facts.depth > DEPTH_MAX:
        raise Unreadable("the arguments are nested too deep, or are not JSON")
    if work_of(expression, facts) > WORK_MAX:
        raise Unreadable("the arguments are too large for it")
    said = _ask_library(lambda: program.execute(dict(facts.told)))
    if not isinstance(said, bool):
        raise Unreadable(f"it comes to {type(said).__name__}, not to true or false")
    return said


def work_of(expression: str, facts: Facts) -> int:
    """How much the expression could have to look at, at the very most."""
    longest = max(facts.items_max, expression.count(",") + 1)
    loops = len(LOOPS.findall(expression))
    return prod([len(expression), facts.chars, *[longest] * loops])


@lru_cache(COMPILED_MAX)
def _program(expression: str) -> cel.Program:
    _check_text(expression)
    program = _ask_library(lambda: cel.compile(expression))
    _check_names(expression, program)
    return program


def _check_text(expression: str) -> None:
    if not expression.strip() or len(expression) > CHARS_MAX:
        raise Unreadable(f"An expression has 1 to {CHARS_MAX:,} characters.")
    if not expression.isprintable():
        raise Unreadable("An expression is one line of printable characters.")
    if found := GROWTH.search(expression):
        raise Unreadable(
            f"{found[1]!r} may not be used, because what it makes can grow. Of the loops there are "
            "`all` and `exists`."
        )
    if len(LOOPS.findall(expression)) > LOOPS_MAX:
        raise Unreadable(f"An expression has {LOOPS_MAX} loops at most.")


def _ask_library(work: Callable[[], T]) -> T:
    """What it answers; whatever it raises is `Unreadable`. What breaks in it is no `Exception`."""
    try:
        return work()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001
        said = str(error).strip().partition("\n")[0]
        raise Unreadable(f"the expression fails with {type(error).__name__}: {said}") from None


def _check_names(expression: str, program: cel.Program) -> None:
    bound, used = set(BOUND.findall(expression)), program.functions()
    if unknown := sorted(set(program.variables()) - KNOWN - bound):
        raise Unreadable(
            f"The expression looks at {', '.join(unknown)}. There are args, invocation and tool, "
            "such as args.amount and invocation.origins."
        )
    if strange := sorted(name for name in used if name.isidentifier() and name not in FUNCTIONS):
        raise Unreadable(f"There is no function {strange[0]!r} in an expression.")
    if PLUS in used and LOOPS.search(expression):
        raise Unreadable("`+` may not be used beside a loop, because what it makes can grow.")


def _describe(invocation: Invocation) -> dict[str, Any]:
    return {
        "origin": str(invocation.origin),
        "origins": sorted(map(str, invocation.origins)),
        "origins_above": [str(each) for each in invocation.origins_above],
        "depth": invocation.depth,
        "requester": invocation.requester,
        "roles": sorted(invocation.roles),
    }


def _measure(value: Any) -> tuple[int, int, int]:
    """How many characters a JSON value has, about, its longest list, and how deep it goes."""
    chars, items_max, depth = 0, 1, 0
    level = [value]
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += [*each.keys(), *each.values()]
            elif isinstance(each, list):
                below += each
            chars += len(each) if isinstance(each, str) else 8
            items_max = max(items_max, len(each) if isinstance(each, dict | list) else 1)
        level, depth = below, depth + 1
    return chars, items_max, depth

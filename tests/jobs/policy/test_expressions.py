"""Expressions of tenants: what they may say, and that none of them can hold up a worker."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import pytest

from jobs.policy.expressions import (
    CHARS_MAX,
    DEPTH_MAX,
    WORK_MAX,
    Facts,
    Unreadable,
    check_expression,
    evaluate,
    work_of,
)
from jobs.policy.judgement import Verdict
from jobs.policy.tenant_rules import BadRule, TenantRule, check_rule
from tests.jobs.policy.calls import came


def facts(**args: Any) -> Facts:
    return Facts.of(args, came("schedule", "agent"), tool="pay", effect="external")


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("true", True),
        ("args.amount > 100", True),
        ("args.amount > 250.5 || args.amount == 250.0", True),
        ("args.to.all(each, each.endsWith('@example.org'))", False),
        ("args.to.exists(each, each.matches('^[a-z]+@elsewhere'))", True),
        ("has(args.missing) && args.missing > 1", False),
        ("size(args.to) > 1 && 'schedule' in invocation.origins", True),
        ("tool.name.startsWith('pa') && tool.effect != 'read'", True),
        ("args.note == null", True),
        ("args['amount'] in [1, 250]", True),
        ("args.amount + args.amount > 499", True),
        ("args.when > '2026-01-01'", True),
    ],
)
def test_what_rules_are_written_with_works(expression: str, holds: bool) -> None:
    check_expression(expression)
    told = facts(
        amount=250,
        to=["ann@example.org", "bob@elsewhere.net"],
        note=None,
        when="2026-11-22",
    )
    assert evaluate(expression, told) is holds


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "1 to 1,000 characters"),
        ("   ", "1 to 1,000 characters"),
        ("1 == 1 " + "|| 1 == 1 " * 100, "1 to 1,000 characters"),
        ("args.amount >", "fails with"),
        ("args.amount > 'x", "fails with"),
        ("amount > 100", "looks at amount. There are args, invocation and tool"),
        ("args.to.map(each, each + each) == []", "'map' may not be used"),
        ("args.to.filter(each, true) == []", "'filter' may not be used"),
        ("args.a.exists(a, args.b.exists(b, args.c.exists(c, args.d.all(d, true))))", "3 loops"),
        ("args.to.exists(each, each + each == '')", "may not be used beside a loop"),
        ("open('file') == ''", "There is no function 'open'"),
        ("args.a == 1\n", "one line of printable characters"),
        ("args.a == '\x00'", "one line of printable characters"),
        ("(" * 300 + "true" + ")" * 300, "fails with"),
        ("[" * 400 + "]" * 400 + " == []", "fails with"),
    ],
)
def test_what_cannot_work_or_could_grow_is_refused_when_it_is_added(
    expression: str, told: str
) -> None:
    rule = TenantRule("r", "*", expression, Verdict.CONFIRM)
    with pytest.raises(BadRule) as refused:
        check_rule(rule)
    assert told in str(refused.value)
    # One that got into the table all the same fails at every call.
    with pytest.raises(Unreadable):
        evaluate(expression, facts(a=1, to=[]))


@pytest.mark.parametrize(
    "expression",
    [
        "args.missing > 1",
        "args.missing > 1 || false",
        "args.amount > 'text'",
        "args.amount / 0 > 1",
        "9223372036854775807 + args.amount > 0",
        "args.note.matches('(')",
        "args.amount",
        "'true'",
        "null",
        "args.to[5] == ''",
        "nobody > 1",
    ],
)
def test_what_cannot_be_said_of_a_call_is_an_error_and_never_false(expression: str) -> None:
    with pytest.raises(Unreadable):
        evaluate(expression, facts(amount=250, note="x", to=[]))


@pytest.mark.parametrize("number", [2**63, 2**64, 2**70, 10**30])
def test_numbers_beyond_the_library_are_still_as_large_as_they_are(number: int) -> None:
    """Or the rule fails, which makes it stricter; none of them may wrap around."""
    for expression in ("args.n > 100", "args.n > 1.5 && args.minus < 0"):
        try:
            held = evaluate(expression, facts(n=number, minus=-number))
        except Unreadable:
            continue
        assert held is True


@pytest.mark.parametrize(
    "args",
    [
        {"a": object()},
        {"a": {1: object()}},
        {"a": "\ud83d"},
    ],
)
def test_arguments_that_cannot_be_told_leave_no_rule_readable(args: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        evaluate("args.a == 1", facts(**args))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_arguments_that_are_nested_too_deep_do_not_reach_the_library() -> None:
    """They would take the whole worker with them, on the small stack of a thread above all."""
    assert evaluate("size(args.a) == 1", facts(a=nested(DEPTH_MAX - 4)))
    for levels in (DEPTH_MAX, 300, 900, 100_000):
        with pytest.raises(Unreadable, match="nested too deep"):
            evaluate("size(args.a) == 1", facts(a=nested(levels)))


DEEP = [
    "(" * 90 + "size(args.a)" + ")" * 90 + " == 1",
    "(" * 490 + "true" + ")" * 490,
    "[" * 490 + "]" * 490 + " != 1",
    "{'a':" * 150 + "1" + "}" * 150 + " != 1",
    "!" * 990 + "true",
    "true" + " && true" * 120,
    "1" + "+1" * 480 + " > 0",
    "true?" * 90 + "true" + ":true" * 90,
    "args" + ".a" * 490 + " == 1 || true",
    "args.a" + "[0]" * 320 + " != 1 || true",
    "size(" * 150 + "args.a" + ")" * 150 + " == 1 || true",
]


def test_the_deepest_that_is_read_fits_the_stack_of_a_thread() -> None:
    told = facts(a=nested(DEPTH_MAX - 4))
    held: list[Any] = []

    def run() -> None:
        for expression in DEEP:
            try:
                held.append(evaluate(expression, told))
            except Unreadable:
                held.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(held) == len(DEEP)
    assert False not in held


@pytest.mark.parametrize(
    "expression",
    [
        "args.l.all(x, x in args.l)",
        "args.l.all(x, args.l.all(y, x == y || true))",
        "args.l.all(x, [" + ",".join(["args"] * 150) + "] != [])",
        "args.l.all(x, args.l.all(y, args.l.all(z, x != -1)))",
        "args.l.all(x, " + " && ".join(["x in args.l"] * 60) + ")",
        " && ".join(["args.s.matches('(a|b|ab)*c?d?[a-z]*$')"] * 20),
        " && ".join(["args.s.contains('aaaaaaaaaaaaaaaaaaaaaaaab') == false"] * 15),
    ],
)
def test_the_worst_that_is_run_is_over_in_a_few_seconds(expression: str) -> None:
    """With as much to look at as is let through, and not a character more."""
    check_expression(expression)
    size = 1
    while work_of(expression, sized(size * 2)) <= WORK_MAX:
        size *= 2
    started = monotonic()
    assert evaluate(expression, sized(size)) in (True, False)
    took_s = monotonic() - started
    assert took_s < 5.0, f"{took_s:.2f} s at {size}"
    with pytest.raises(Unreadable, match="too large"):
        evaluate(expression, sized(size * 2))


def sized(size: int) -> Facts:
    return facts(l=list(range(min(size, 300_000))), s="a" * size)


def test_a_usual_rule_has_room_for_a_large_call() -> None:
    told = facts(to=["ann@example.org"] * 200, body="x" * 100_000)
    for expression in (
        "args.to.exists(each, !each.endsWith('@example.org'))",
        "args.body.contains('secret') || size(args.to) > 1000",
    ):
        assert evaluate(expression, told) is False


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "Large"}, "cannot name a rule"),
        ({"id": ""}, "cannot name a rule"),
        ({"tool": "pay]"}, "names no tools"),
        ({"verdict": Verdict.ALLOW}, "only make a policy stricter"),
        ({"role": "finance"}, "go with approve"),
        ({"quorum": 2}, "go with approve"),
        ({"verdict": Verdict.APPROVE, "role": "two words"}, "is no role"),
        ({"verdict": Verdict.APPROVE, "quorum": 11}, "A quorum is 1 to 10 people"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(change: dict[str, Any], told: str) -> None:
    good = {"id": "r", "tool": "pay", "expression": "true", "verdict": Verdict.CONFIRM}
    check_rule(TenantRule(**good))
    with pytest.raises(BadRule, match=told):
        check_rule(TenantRule(**good | change))
    assert CHARS_MAX == 1_000

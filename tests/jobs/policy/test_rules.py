"""Rules beside the tool: what they are given, what they may answer, and what is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import ALLOW, Approve, Verdict, always, approve_if, came_by, confirm_if, deny_if
from jobs.errors import Misdeclared
from store.invocation import Invocation
from tests.jobs.policy.calls import ARGS, came, judged, payment


def is_large(amount: float, **_: Any) -> bool:
    """It is more than two hundred."""
    return amount > 200


def test_a_predicate_is_given_what_it_names_as_the_tool_would_get_it() -> None:
    seen: list[Any] = []

    def look(amount: float, note: str | None, invocation: Invocation, urgent: bool) -> bool:
        seen.append((amount, note, invocation, urgent))
        return False

    judged(payment([confirm_if(look)]), {"amount": "250", "to": []}, came("chat"))
    assert seen == [(250.0, None, came("chat"), False)]


def test_a_predicate_that_takes_the_rest_is_given_the_rest() -> None:
    seen: list[Any] = []

    def look(amount: float, **rest: Any) -> bool:
        return bool(seen.append(rest))

    judged(payment([confirm_if(look)]))
    assert seen == [{"to": ["ann@example.org"], "note": None, "urgent": False}]


def test_a_rule_that_applies_says_why() -> None:
    found = judged(payment([confirm_if(is_large), deny_if(lambda **_: False)]))
    assert (found.verdict, found.role, found.quorum) == (Verdict.CONFIRM, None, 1)
    assert found.rules == ("is_large",)
    assert found.reasons == ("is_large: It is more than two hundred.",)
    said = judged(payment([deny_if(lambda amount, **_: amount > 1, reason="Too much.")]))
    assert said.reasons == ("deny-1: Too much.",)


def test_an_approval_has_a_role_and_a_quorum() -> None:
    found = judged(payment([approve_if(always, role="finance", quorum=2)]))
    assert (found.verdict, found.role, found.quorum) == (Verdict.APPROVE, "finance", 2)
    found = judged(payment([approve_if(always)]))
    assert (found.role, found.quorum) == ("operator", 1)


@pytest.mark.parametrize(
    ("said", "verdict", "role", "quorum"),
    [
        (None, Verdict.ALLOW, None, 0),
        (Verdict.ALLOW, Verdict.ALLOW, None, 0),
        (Verdict.CONFIRM, Verdict.CONFIRM, None, 1),
        (Verdict.APPROVE, Verdict.APPROVE, "operator", 1),
        (Approve("finance", 3), Verdict.APPROVE, "finance", 3),
        (Verdict.DENY, Verdict.DENY, None, 0),
        # What is no answer is no answer, however much it looks like one.
        ("allow", Verdict.DENY, None, 0),
        (True, Verdict.DENY, None, 0),
        (False, Verdict.DENY, None, 0),
        (Approve("finance", 0), Verdict.DENY, None, 0),
        (Approve("", 1), Verdict.DENY, None, 0),
        (Approve("finance & legal", 1), Verdict.DENY, None, 0),
        (Approve, Verdict.DENY, None, 0),
    ],
)
def test_a_function_says_its_verdict_and_anything_else_denies(
    said: Any, verdict: Verdict, role: str | None, quorum: int
) -> None:
    found = judged(payment([lambda args, invocation: said]))
    assert (found.verdict, found.role, found.quorum) == (verdict, role, quorum)


def test_a_function_cannot_change_what_the_next_one_is_given() -> None:
    def meddle(args: Any, invocation: Invocation) -> None:
        args["amount"] = 0

    found = judged(payment([meddle, confirm_if(is_large)]))
    assert found.verdict is Verdict.DENY
    assert found.rules == ("meddle", "is_large")
    assert "TypeError" in found.reasons[0]


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (confirm_if(lambda amount: 1 / 0), Verdict.APPROVE),
        (confirm_if(lambda amount: "unsafe"), Verdict.APPROVE),
        (confirm_if(lambda amount: None), Verdict.APPROVE),
        (approve_if(lambda amount: 1 / 0, role="finance"), Verdict.DENY),
        (deny_if(lambda amount: 1 / 0), Verdict.DENY),
        (lambda args, invocation: args["nothing"], Verdict.DENY),
    ],
)
def test_a_rule_that_fails_counts_as_stricter(rule: Any, verdict: Verdict) -> None:
    found = judged(payment([rule]))
    assert found.verdict is verdict
    assert found.role == ("operator" if verdict is Verdict.APPROVE else None)
    assert "it failed" in found.reasons[0]


def test_an_error_that_cannot_even_say_what_it_is_lets_nothing_through() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(**_: Any) -> bool:
        raise Mute

    found = judged(payment([confirm_if(fail)]))
    assert (found.verdict, found.reasons) == (
        Verdict.APPROVE,
        ("fail: it failed (Mute), so it counts as stricter.",),
    )


def test_a_door_is_looked_for_in_the_whole_line() -> None:
    made = payment([deny_if(came_by("schedule", "webhook"))])
    assert judged(made, job=came("schedule", "agent", "agent")).verdict is Verdict.DENY
    assert judged(made, job=came("chat", "agent")).verdict is Verdict.ALLOW
    assert judged(made, job=came("webhook")).rules == ("came_by_schedule_or_webhook",)
    with pytest.raises(ValueError, match="nowhere"):
        came_by("nowhere")


# --- what is declared -----------------------------------------------------------------------------


def test_without_a_policy_whatever_changes_something_is_confirmed() -> None:
    found = judged(payment())
    assert (found.verdict, found.rules) == (Verdict.CONFIRM, ("default",))
    assert judged(payment(effect="write")).verdict is Verdict.CONFIRM
    read = judged(payment(effect="read"))
    assert (read.verdict, read.rules, read.quorum) == (Verdict.ALLOW, (), 0)


def test_a_declared_policy_with_nothing_to_say_lets_the_call_through() -> None:
    for policy in (ALLOW, [], [confirm_if(lambda **_: False)]):
        found = judged(payment(policy))
        assert (found.verdict, found.rules, found.reasons) == (Verdict.ALLOW, (), ())


def test_one_agent_may_have_a_tool_under_other_rules() -> None:
    made = payment([deny_if(always)])
    free = made.with_policy(ALLOW)
    assert judged(free).verdict is Verdict.ALLOW
    assert judged(made).verdict is Verdict.DENY
    assert (free.name, free.sha256) == (made.name, made.sha256)
    assert judged(free.with_policy(None)).rules == ("default",)


async def later(**_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("allow", "A policy is a list of rules"),
        (confirm_if(always), "A policy is a list of rules"),
        ([True], "True is no rule"),
        ([Verdict], "is no rule"),
        ([lambda amount: True], r"a plain function takes \(args, invocation\)"),
        ([later], "a rule is a plain one"),
        ([confirm_if(is_large), deny_if(is_large)], "Two rules of a tool are named is_large"),
        ([confirm_if(lambda price: True)], "looks at 'price', which is no argument"),
    ],
)
def test_what_could_not_work_is_told_when_the_tool_is_declared(policy: Any, told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        payment(policy)


@pytest.mark.parametrize(
    "make",
    [
        lambda: confirm_if(True),  # type: ignore[arg-type]
        lambda: confirm_if(later),  # type: ignore[arg-type]
        lambda: confirm_if(lambda *amounts: True),
        lambda: confirm_if(lambda amount, /: True),
        lambda: approve_if(always, role="two words"),
        lambda: approve_if(always, quorum=0),
        lambda: approve_if(always, quorum=True),
        lambda: approve_if(always, quorum=11),
    ],
)
def test_what_is_no_rule_is_told_when_it_is_made(make: Any) -> None:
    with pytest.raises(Misdeclared):
        make()


def test_a_tool_with_an_argument_named_like_the_invocation_is_told_how_to_look_at_it() -> None:
    from jobs import tool

    with pytest.raises(Misdeclared, match="which is an argument of the tool, too"):

        @tool(effect="write", policy=[confirm_if(lambda invocation: True)])
        def send(invocation: str) -> str:
            """Send it."""
            return invocation


def test_rules_can_have_names() -> None:
    named = confirm_if(lambda amount, **_: True, name="every-payment")
    assert judged(payment([named])).rules == ("every-payment",)
    assert judged(payment([named]), ARGS | {"note": "x"}).rules == ("every-payment",)

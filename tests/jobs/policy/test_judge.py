"""The judge: what rules of the tool and of the tenant come to, for a job and for those above it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import ALLOW, Verdict, always, approve_if, confirm_if, deny_if, tool
from jobs.policy.fingerprints import sha256_of
from jobs.policy.judge import jobs_of
from jobs.policy.tenant_rules import TenantRule
from tests.jobs.policy.calls import ARGS, came, judged, payment


def rule(expression: str = "true", **more: Any) -> TenantRule:
    told = {"id": "r", "tool": "pay", "verdict": Verdict.CONFIRM} | more
    return TenantRule(expression=expression, **told)


def test_a_tenant_makes_a_free_call_stricter() -> None:
    large = rule("args.amount > 200", verdict=Verdict.APPROVE, role="finance", quorum=2)
    found = judged(payment(ALLOW), rules=(large,))
    assert (found.verdict, found.role, found.quorum) == (Verdict.APPROVE, "finance", 2)
    assert (found.rules, found.reasons) == (("tenant:r",), ("tenant:r: args.amount > 200",))
    small = judged(payment(ALLOW), ARGS | {"amount": 200}, rules=(large,))
    assert (small.verdict, small.rules) == (Verdict.ALLOW, ())


def test_a_tenant_cannot_let_others_approve_than_the_tool_asks_for() -> None:
    made = payment([approve_if(always, role="finance", quorum=1)])
    anybody = rule(verdict=Verdict.APPROVE, role="everybody", quorum=3)
    found = judged(made, rules=(anybody,))
    assert (found.role, found.quorum) == ("everybody & finance", 3)


def test_the_most_severe_rule_is_told_first() -> None:
    made = payment([confirm_if(always), deny_if(always, name="never")])
    found = judged(made, rules=(rule(verdict=Verdict.APPROVE),))
    assert (found.verdict, found.role, found.quorum) == (Verdict.DENY, None, 0)
    assert found.rules == ("never", "tenant:r", "always")


@pytest.mark.parametrize(
    ("pattern", "is_about"),
    [("pay", True), ("p*", True), ("*", True), ("?ay", True), ("PAY", False), ("pa", False)],
)
def test_a_rule_is_about_the_tools_its_pattern_names(pattern: str, is_about: bool) -> None:
    found = judged(payment(ALLOW), rules=(rule(tool=pattern),))
    assert (found.verdict is Verdict.CONFIRM) is is_about


@pytest.mark.parametrize(
    ("expression", "verdict", "becomes"),
    [
        ("args.missing > 1", Verdict.CONFIRM, Verdict.APPROVE),
        ("args.missing > 1", Verdict.APPROVE, Verdict.DENY),
        ("args.note > 1", Verdict.DENY, Verdict.DENY),
        ("args.amount", Verdict.CONFIRM, Verdict.APPROVE),
        # Nobody checked this one.
        ("args.amount >", Verdict.CONFIRM, Verdict.APPROVE),
    ],
)
def test_a_rule_that_fails_at_a_call_has_applied_one_verdict_stricter(
    expression: str, verdict: Verdict, becomes: Verdict
) -> None:
    found = judged(payment(ALLOW), rules=(rule(expression, verdict=verdict),))
    assert found.verdict is becomes
    assert "it failed" in found.reasons[0]


def test_expressions_see_defaults_how_the_job_came_to_be_and_the_tool() -> None:
    expression = (
        "args.urgent == false && args.note == null && invocation.requester == 'ann' "
        "&& invocation.roles == ['clerk'] && invocation.origins == ['agent', 'chat'] "
        "&& invocation.origins_above == ['chat'] && invocation.depth == 1 "
        "&& invocation.origin == 'agent' && tool.name == 'pay' && tool.effect == 'external'"
    )
    job = came("chat", "agent", roles=("clerk",))
    found = judged(payment(ALLOW), job=job, rules=(rule(expression),))
    assert found.reasons == (f"tenant:r: {expression}"[:310],)


def test_what_a_rule_of_the_tool_does_to_its_arguments_the_tenant_does_not_see() -> None:
    def clear(to: list[str], **_: Any) -> bool:
        to.clear()
        return False

    asked = rule("size(args.to) > 0", verdict=Verdict.DENY)
    assert judged(payment([confirm_if(clear)]), rules=(asked,)).verdict is Verdict.DENY


def test_what_a_tool_gets_is_what_expressions_see() -> None:
    found = judged(payment(ALLOW), ARGS | {"amount": "250"}, rules=(rule("args.amount > 249.5"),))
    assert "it failed" not in found.reasons[0]


# --- the line of jobs -----------------------------------------------------------------------------


def test_a_call_is_judged_as_that_of_every_job_above_it() -> None:
    made = payment([deny_if(lambda invocation: invocation.origin == "schedule", name="no-ticks")])
    found = judged(made, job=came("schedule", "agent"))
    assert found.verdict is Verdict.DENY
    assert found.reasons[0].startswith(
        "no-ticks: as for the job above it that came by schedule: says deny"
    )
    assert judged(made, job=came("chat", "agent")).verdict is Verdict.ALLOW


def test_the_jobs_above_are_as_they_were() -> None:
    own, parent, first = jobs_of(came("schedule", "agent", "agent", roles=("clerk",)))
    assert own == came("schedule", "agent", "agent", roles=("clerk",))
    assert parent == came("schedule", "agent", roles=("clerk",))
    assert first == came("schedule", roles=("clerk",))


# --- of which policy, arguments and tool it is ----------------------------------------------------


def limit(amount: float) -> Any:
    return confirm_if(lambda amount=amount, **_: False, name="limit")


def version(policy: Any, *rules: TenantRule, effect: str = "external") -> str:
    return judged(payment(policy, effect=effect), rules=rules).policy_version


def test_the_version_is_that_of_every_rule_that_was_asked() -> None:
    one = version([limit(1)], rule("false"))
    assert one == version([limit(1)], rule("false"))
    others = [
        version([limit(2)], rule("false")),
        version([limit(1)], rule("1 == 2")),
        version([limit(1)]),
        version([limit(1)], rule("false", verdict=Verdict.DENY)),
        version([limit(1)], rule("false"), rule("false", id="s")),
        version([confirm_if(lambda **_: False, name="other")], rule("false")),
        version(None, rule("false")),
        version(ALLOW, rule("false")),
        version(None, rule("false"), effect="read"),
    ]
    assert len({one, *others}) == len(others) + 1


def test_rules_that_were_not_asked_and_their_order_make_no_other_version() -> None:
    one, two = rule("false", id="a"), rule("false", id="b")
    assert version(ALLOW, one, two) == version(ALLOW, two, one)
    assert version(ALLOW, one) == version(ALLOW, one, rule(id="c", tool="send_*"))
    plain = rule("false", id="a", verdict=Verdict.APPROVE)
    named = rule("false", id="a", verdict=Verdict.APPROVE, role="operator")
    assert version(ALLOW, plain) == version(ALLOW, named)


def test_the_hash_is_of_the_arguments_that_are_frozen_with_the_step() -> None:
    given = {"to": [], "amount": "250"}
    assert judged(payment(), given).args_sha256 == sha256_of(given)
    assert judged(payment(), given).args_sha256 != judged(payment(), ARGS).args_sha256


def test_the_hash_of_a_tool_is_of_what_somebody_who_approves_it_is_shown() -> None:
    def send(to: str) -> str:
        """Send it."""
        return to

    def send_more(to: str, again: bool = False) -> str:
        """Send it."""
        return to

    made = tool(effect="write")(send)
    assert made.sha256 == tool(effect="write", timeout_s=5, policy=ALLOW)(send).sha256
    others = [
        tool(effect="external")(send),
        tool(effect="write", idempotency="key")(send),
        tool(effect="write", dependency="mail")(send),
        tool(effect="write", name="send")(send_more),
        tool(effect="write", name="post")(send),
    ]
    assert len({made.sha256, *(each.sha256 for each in others)}) == 6

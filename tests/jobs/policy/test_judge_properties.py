"""Whatever the rules, the call and the job: nothing that is added, fails or descends is looser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from jobs.policy.judge import DEFAULT, judge
from jobs.policy.judgement import Demand, Judgement, Verdict
from jobs.policy.rules import Approve, Rule, RuleLike, approve_if, confirm_if, deny_if
from jobs.policy.tenant_rules import TenantRule, check_rule
from store.invocation import Invocation
from tests.jobs.policy.calls import came, payment

ROLES = ["finance", "legal", "operator"]
DOORS = ["api", "chat", "schedule", "webhook", "mcp", "agent"]


@dataclass(frozen=True)
class Case:
    """When a rule applies: in Python, in CEL, and as the test itself tells; None: it fails."""

    predicate: Callable[..., Any]
    expression: str
    told: Callable[[dict[str, Any], Invocation], bool | None]
    is_about_origins: bool = True


def fail(**_: Any) -> bool:
    raise RuntimeError("broken")


CASES = [
    Case(lambda **_: True, "true", lambda a, i: True),
    Case(lambda **_: False, "false", lambda a, i: False),
    Case(fail, "args.missing > 1", lambda a, i: None),
    Case(lambda **_: "unsafe", "'unsafe'", lambda a, i: None),
    Case(
        lambda amount, **_: amount > 100,
        "args.amount > 100",
        lambda a, i: a["amount"] > 100,
        is_about_origins=False,
    ),
    Case(
        lambda to, **_: any(not each.endswith("@example.org") for each in to),
        "args.to.exists(each, !each.endsWith('@example.org'))",
        lambda a, i: any("@example.org" not in each for each in a["to"]),
        is_about_origins=False,
    ),
    Case(
        lambda note, **_: note.isupper(),
        "args.note.startsWith('URGENT')",
        lambda a, i: None if a.get("note") is None else a["note"] == "URGENT",
        is_about_origins=False,
    ),
    Case(
        lambda invocation: "schedule" in invocation.origins,
        "'schedule' in invocation.origins",
        lambda a, i: "schedule" in {*i.origins_above, i.origin},
    ),
    Case(
        lambda invocation, **_: invocation.origin == "webhook",
        "invocation.origin == 'webhook'",
        lambda a, i: i.origin == "webhook",
    ),
    # Looser for a child, if the child alone were looked at.
    Case(
        lambda invocation, **_: invocation.depth == 0,
        "invocation.depth == 0",
        lambda a, i: not i.origins_above,
    ),
    Case(
        lambda invocation, **_: "chat" not in invocation.origins,
        "!('chat' in invocation.origins)",
        lambda a, i: "chat" not in i.origins,
    ),
]
BY_ORIGIN = [case for case in CASES if case.is_about_origins]


@dataclass(frozen=True)
class Made:
    """A rule beside what it asks for when it applies, and when it fails."""

    rule: RuleLike | TenantRule
    case: Case
    demand: Demand
    of_failure: Demand

    def expected(self, args: dict[str, Any], job: Invocation) -> Demand | None:
        told = self.case.told(args, job)
        if told is None:
            return self.of_failure
        return self.demand if told else None


def next_of(demand: Demand) -> Demand:
    """What a failure is, in the words of the page."""
    if demand.verdict is Verdict.CONFIRM:
        return Demand(Verdict.APPROVE, frozenset({"operator"}), 1)
    return Demand(Verdict.DENY)


NUMBERS = count()


@some.composite
def python_rules(draw: some.DrawFn, cases: list[Case]) -> Made:
    case = draw(some.sampled_from(cases))
    name = f"r{next(NUMBERS)}"
    role, quorum = draw(some.sampled_from(ROLES)), draw(some.integers(1, 3))
    approval = Demand(Verdict.APPROVE, frozenset({role}), quorum)
    match draw(some.sampled_from(["confirm", "approve", "deny", "function"])):
        case "confirm":
            demand = Demand(Verdict.CONFIRM, quorum=1)
            return Made(confirm_if(case.predicate, name=name), case, demand, next_of(demand))
        case "approve":
            rule = approve_if(case.predicate, role=role, quorum=quorum, name=name)
            return Made(rule, case, approval, next_of(approval))
        case "deny":
            deny = Demand(Verdict.DENY)
            return Made(deny_if(case.predicate, name=name), case, deny, deny)
        case _:
            said, demand = draw(
                some.sampled_from(
                    [
                        (Verdict.ALLOW, Demand(Verdict.ALLOW)),
                        (Verdict.CONFIRM, Demand(Verdict.CONFIRM, quorum=1)),
                        (Approve(role, quorum), approval),
                        (Verdict.DENY, Demand(Verdict.DENY)),
                    ]
                )
            )
            return Made(function_of(case, said, name), case, demand, Demand(Verdict.DENY))


def function_of(case: Case, said: Any, name: str) -> RuleLike:
    def weigh(args: Any, invocation: Invocation) -> Any:
        told = case.told(dict(args), invocation)
        if told is None:
            return "neither a verdict nor nothing"
        return said if told else None

    weigh.__name__ = name
    return weigh


@some.composite
def tenants_rules(draw: some.DrawFn, cases: list[Case]) -> Made:
    case = draw(some.sampled_from(cases))
    verdict = draw(some.sampled_from([Verdict.CONFIRM, Verdict.APPROVE, Verdict.DENY]))
    role, quorum = None, 1
    demand = Demand(verdict, quorum=int(verdict is Verdict.CONFIRM))
    if verdict is Verdict.APPROVE:
        role, quorum = draw(some.sampled_from(ROLES)), draw(some.integers(1, 3))
        demand = Demand(verdict, frozenset({role}), quorum)
    pattern = draw(some.sampled_from(["pay", "p*", "*", "???"]))
    rule = TenantRule(f"t{next(NUMBERS)}", pattern, case.expression, verdict, role, quorum)
    check_rule(rule)
    return Made(rule, case, demand, next_of(demand))


amounts = some.integers(-(10**6), 10**6) | some.floats(0, 1e6)
words = some.sampled_from(["ann@example.org", "bob@elsewhere.net"])
calls = some.fixed_dictionaries(
    {"amount": amounts, "to": some.lists(words, max_size=3)},
    optional={"note": some.sampled_from([None, "URGENT", "urgent"]), "urgent": some.booleans()},
)
jobs = some.lists(some.sampled_from(DOORS), min_size=1, max_size=4).map(lambda doors: came(*doors))
policies = some.none() | some.lists(python_rules(CASES), max_size=4)
tenants = some.lists(tenants_rules(CASES), max_size=4)
effects = some.sampled_from(["read", "write", "external"])


def judgement_of(
    policy: list[Made] | None,
    extra: list[Made],
    args: dict[str, Any],
    job: Invocation,
    effect: str = "external",
) -> Judgement:
    made = payment(None if policy is None else [each.rule for each in policy], effect=effect)
    rules = tuple(each.rule for each in extra)
    return judge(made, made.validate(args), args, job, rules)


def demand_of(
    policy: list[Made] | None, effect: str, extra: list[Made], args: Any, job: Any
) -> Any:
    """What is expected: what every rule asks for, of the job and of each one above it."""
    asked = [] if policy is not None or effect == "read" else [Demand(Verdict.CONFIRM, quorum=1)]
    chain = [*job.origins_above, job.origin]
    for depth in range(len(chain)):
        station = came(*chain[: depth + 1])
        given_by = [each.expected(args, station) for each in [*(policy or []), *extra]]
        asked += [each for each in given_by if each is not None]
    return all_of(asked)


ORDER = ["allow", "confirm", "approve", "deny"]


def all_of(asked: list[Demand]) -> Demand:
    """Everything at once, told without the code that is tested."""
    verdict = Verdict(max((each.verdict.value for each in asked), key=ORDER.index, default="allow"))
    counted = [each for each in asked if each.verdict is verdict]
    roles = frozenset(role for each in counted for role in each.roles)
    return Demand(verdict, roles, max((each.quorum for each in counted), default=0))


@given(policies, effects, tenants, calls, jobs)
@settings(max_examples=400, deadline=None)
def test_the_verdict_is_all_that_any_rule_asks_for(
    policy: list[Made] | None, effect: str, extra: list[Made], args: dict[str, Any], job: Invocation
) -> None:
    found = judgement_of(policy, extra, args, job, effect)
    assert found.demand == demand_of(policy, effect, extra, args, job)
    for each in [*(policy or []), *extra]:
        asked = each.expected(args, job)
        if asked is not None:
            assert found.verdict >= asked.verdict
            assert found.verdict > asked.verdict or asked.roles <= found.demand.roles
            assert found.verdict > asked.verdict or asked.quorum <= found.quorum
    if found.verdict is not Verdict.ALLOW:
        assert found.rules
    assert len(found.reasons) == len(found.rules)
    assert (found.rules == (DEFAULT,)) <= (policy is None)


@given(policies, effects, tenants, calls, jobs)
@settings(max_examples=200, deadline=None)
def test_rules_of_a_tenant_never_loosen(
    policy: list[Made] | None, effect: str, extra: list[Made], args: dict[str, Any], job: Invocation
) -> None:
    without = judgement_of(policy, [], args, job, effect)
    assert not without.asks_more_than(judgement_of(policy, extra, args, job, effect))
    assert judgement_of(policy, extra, args, job, effect).verdict >= without.verdict


@given(some.lists(python_rules(CASES), min_size=1, max_size=4), tenants, calls, jobs, some.data())
@settings(max_examples=200, deadline=None)
def test_an_error_never_loosens(
    policy: list[Made],
    extra: list[Made],
    args: dict[str, Any],
    job: Invocation,
    data: some.DataObject,
) -> None:
    """Any rule that fails, in place of itself: of the tool, or of the tenant."""
    before = judgement_of(policy, extra, args, job)
    place = data.draw(some.integers(0, len(policy) - 1))
    broken = [*policy]
    broken[place] = failing(policy[place])
    assert not before.asks_more_than(judgement_of(broken, extra, args, job))
    if extra:
        place = data.draw(some.integers(0, len(extra) - 1))
        torn = [*extra]
        torn[place] = unreadable(extra[place])
        assert not before.asks_more_than(judgement_of(policy, torn, args, job))


def failing(made: Made) -> Made:
    """The same kind of rule, asking for the same, with nothing but a failure in it."""
    name, demand = f"f{next(NUMBERS)}", made.demand
    rule: RuleLike
    if not isinstance(made.rule, Rule):
        rule = function_of(CASES[2], None, name)
    elif demand.verdict is Verdict.CONFIRM:
        rule = confirm_if(fail, name=name)
    elif demand.verdict is Verdict.APPROVE:
        (role,) = demand.roles
        rule = approve_if(fail, role=role, quorum=demand.quorum, name=name)
    else:
        rule = deny_if(fail, name=name)
    return Made(rule, CASES[2], demand, made.of_failure)


def unreadable(made: Made) -> Made:
    """The rule with an expression that nobody checked: not even CEL."""
    rule = made.rule
    assert isinstance(rule, TenantRule)
    bad = TenantRule(rule.id, rule.tool, "args.amount >", rule.verdict, rule.role, rule.quorum)
    return Made(bad, CASES[2], made.demand, made.of_failure)


@given(
    some.none() | some.lists(python_rules(BY_ORIGIN), max_size=3),
    some.lists(tenants_rules(BY_ORIGIN), max_size=3),
    some.lists(some.sampled_from(DOORS), min_size=1, max_size=3),
    some.lists(some.sampled_from(DOORS), min_size=1, max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_a_child_is_never_judged_looser_than_its_parent(
    policy: list[Made] | None, extra: list[Made], above: list[str], below: list[str]
) -> None:
    args = {"amount": 1, "to": []}
    parent = judgement_of(policy, extra, args, came(*above))
    child = judgement_of(policy, extra, args, came(*above, *below))
    assert child.verdict >= parent.verdict
    assert not parent.asks_more_than(child)


@given(policies, effects, tenants, calls, jobs)
@settings(max_examples=150, deadline=None)
def test_a_judgement_is_the_same_every_time_and_after_it_was_written_down(
    policy: list[Made] | None, effect: str, extra: list[Made], args: dict[str, Any], job: Invocation
) -> None:
    found = judgement_of(policy, extra, args, job, effect)
    assert Judgement.from_json(json.loads(json.dumps(found.as_json()))) == found
    shuffled = random.sample(extra, len(extra))
    assert judgement_of(policy, shuffled, dict(reversed(args.items())), job, effect) == found


@given(calls, calls)
@settings(deadline=None)
def test_the_hash_is_that_of_the_arguments_as_they_were_given(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    hashes = [judgement_of([], [], args, came()).args_sha256 for args in (one, two)]
    is_same = one == two and [type(v) is bool for v in one.values()] == [
        type(two[k]) is bool for k in one
    ]
    assert (hashes[0] == hashes[1]) is is_same

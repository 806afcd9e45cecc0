"""Verdicts have an order, demands are joined, and a judgement survives being written down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobs.policy.judgement import (
    NOTHING,
    QUORUM_MAX,
    Demand,
    Judgement,
    Verdict,
    join,
    role_of,
    roles_in,
)

ROLES = ["finance", "legal", "operator"]
demands = some.one_of(
    some.sampled_from(Verdict).map(Demand.plain),
    some.builds(Demand.approval, some.sampled_from(ROLES), some.integers(1, QUORUM_MAX)),
)


def made(verdict: Verdict = Verdict.APPROVE, **more: Any) -> Judgement:
    told = {
        "verdict": verdict,
        "role": "finance",
        "quorum": 2,
        "reasons": ("r: because",),
        "rules": ("r",),
        "policy_version": "v",
        "args_sha256": "a",
        "tool_sha256": "t",
    }
    return Judgement(**told | more)


def test_verdicts_are_ordered_by_severity_and_not_as_texts() -> None:
    ordered = [Verdict.ALLOW, Verdict.CONFIRM, Verdict.APPROVE, Verdict.DENY]
    assert sorted(["deny", *map(Verdict, ("approve", "allow", "confirm"))]) == ordered
    assert Verdict.APPROVE > Verdict.CONFIRM
    assert Verdict.DENY >= Verdict.DENY
    assert Verdict.ALLOW < "confirm" <= Verdict.CONFIRM
    with pytest.raises(ValueError, match="maybe"):
        _ = Verdict.ALLOW < "maybe"


def meets(have: Demand, asked: Demand) -> bool:
    """Whether what was given for one demand would do for another, told without `joined`."""
    if have.verdict is not asked.verdict:
        return have.verdict > asked.verdict
    return asked.roles <= have.roles and asked.quorum <= have.quorum


@given(demands, demands, demands)
def test_a_joined_demand_meets_each_and_nothing_less_would(
    one: Demand, two: Demand, three: Demand
) -> None:
    joined = one.joined(two)
    assert meets(joined, one)
    assert meets(joined, two)
    if meets(three, one) and meets(three, two):
        assert meets(three, joined)
    assert two.joined(one) == joined == joined.joined(one)
    assert one.joined(two.joined(three)) == joined.joined(three)
    assert join([]) == NOTHING
    assert NOTHING.joined(one) == one


@given(demands)
def test_the_next_demand_is_more_severe(one: Demand) -> None:
    escalated = one.escalated()
    assert escalated.verdict > one.verdict or one.verdict is Verdict.DENY
    assert escalated.verdict is not Verdict.APPROVE or escalated.roles == {"operator"}


def test_two_approvals_become_one_by_people_with_both_roles() -> None:
    joined = Demand.approval("legal", 1).joined(Demand.approval("finance", 3))
    assert (role_of(joined.roles), joined.quorum) == ("finance & legal", 3)
    assert roles_in("finance & legal") == {"finance", "legal"}
    assert roles_in(None) == frozenset()


def test_what_asks_for_more_than_what_was_granted_is_told() -> None:
    assert not made().asks_more_than(made())
    assert not made(quorum=1).asks_more_than(made())
    assert made(quorum=3).asks_more_than(made())
    assert made(role="legal").asks_more_than(made())
    assert made(Verdict.DENY, role=None, quorum=0).asks_more_than(made())
    assert not made().asks_more_than(made(Verdict.DENY, role=None, quorum=0))


def test_a_judgement_is_the_same_after_it_was_written_down() -> None:
    for each in (made(), made(Verdict.ALLOW, role=None, quorum=0, rules=(), reasons=())):
        assert Judgement.from_json(json.loads(json.dumps(each.as_json()))) == each


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"verdict": None},
        {"role": None},
        {"role": "a role"},
        {"role": "finance & "},
        {"quorum": 0},
        {"quorum": "2"},
        {"quorum": True},
        {"reasons": None},
    ],
)
def test_what_is_no_judgement_is_not_read_as_one(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no judgement|no role|A quorum|not a valid Verdict"):
        Judgement.from_json(made().as_json() | change)


def test_a_judgement_with_something_missing_is_none() -> None:
    for name in made().as_json():
        told = {key: value for key, value in made().as_json().items() if key != name}
        with pytest.raises(ValueError, match="no judgement"):
            Judgement.from_json(told)

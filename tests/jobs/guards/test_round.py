from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import Agent
from jobs.errors import Misdeclared
from jobs.guards.guard import (
    EVERYWHERE,
    Context,
    Kind,
    Stage,
    Verdict,
    allow,
    block,
    confirm,
    halt,
    replace,
    retry,
)
from jobs.guards.round import FOR_A_PERSON, SEVERITY
from jobs.guards.secrets import Secrets
from jobs.guards.shipped import with_shipped
from store.errors import Unreachable
from tests.jobs.guards.rounds import round_of


@dataclass(frozen=True)
class Says:
    """A guard that says what it is told to."""

    name: str
    say: Callable[[Any], Verdict]
    stages: frozenset[Stage] = EVERYWHERE

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        return self.say(value)


def says(name: str, verdict: Verdict) -> Says:
    return Says(name, lambda _: verdict)


SPOKEN = {
    Kind.ALLOW: allow(),
    Kind.REPLACE: replace("other", "changed"),
    Kind.RETRY: retry("again"),
    Kind.CONFIRM: confirm("ask"),
    Kind.HALT: halt("look"),
    Kind.BLOCK: block("no"),
}


@given(st.lists(st.sampled_from(list(Kind)), max_size=6))
def test_the_most_severe_verdict_wins_whatever_the_order(kinds: list[Kind]) -> None:
    guards = [says(f"g{n}", SPOKEN[kind]) for n, kind in enumerate(kinds)]
    found = round_of(*guards, value="value")
    assert SEVERITY.index(found.kind) == max(map(SEVERITY.index, kinds), default=0)
    assert found.passes == (found.kind in (Kind.ALLOW, Kind.REPLACE))


@given(st.lists(st.sampled_from(list(Kind)), max_size=6))
def test_a_person_can_let_pass_what_asks_for_one_and_nothing_else(kinds: list[Kind]) -> None:
    guards = [says(f"g{n}", SPOKEN[kind]) for n, kind in enumerate(kinds)]
    assert round_of(*guards, value="value", waived=FOR_A_PERSON).passes == (Kind.BLOCK not in kinds)


def test_each_guard_sees_what_the_one_before_it_made_of_the_value() -> None:
    twice = Says("twice", lambda value: replace(value * 2, "doubled"))
    more = Says("more", lambda value: replace(value + "!", "stressed"))
    assert round_of(twice, more, value="ab").value == "abab!"


def test_a_guard_that_raises_has_blocked_in_its_name() -> None:
    def stumble(value: Any) -> Verdict:
        raise KeyError("the secret itself")

    found = round_of(says("calm", allow()), Says("clumsy", stumble), value=1)
    assert found.kind is Kind.BLOCK
    assert "clumsy" in found.reason
    assert "KeyError" in found.reason
    assert "the secret itself" not in str(found.rows())


def test_the_same_complaint_a_second_time_halts() -> None:
    picky = says("picky", retry("wrong"))
    assert round_of(picky, value=1).kind is Kind.RETRY
    assert round_of(picky, value=1, retried=frozenset({"picky"})).kind is Kind.HALT
    assert round_of(picky, value=1, retried=frozenset({"other"})).kind is Kind.RETRY


def test_a_guard_looks_only_where_it_says() -> None:
    late = Says("late", lambda _: block("no"), frozenset({Stage.JOB_POST}))
    assert round_of(late, value=1, stage=Stage.JOB_OUTPUT).kind is Kind.ALLOW
    assert round_of(late, value=1, stage=Stage.JOB_POST).kind is Kind.BLOCK


def test_plain_allows_are_counted_and_all_else_has_a_row() -> None:
    guards = [says("a", allow()), says("b", allow(share=0.9)), says("c", allow())]
    rows = round_of(*guards, says("d", replace(2, "changed", kinds=1)), value=1).rows()
    assert rows == [
        {"stage": "tool.args", "guard": "b", "verdict": "allow", "found": {"share": 0.9}},
        {
            "stage": "tool.args", "guard": "d", "verdict": "replace", "reason": "changed",
            "found": {"kinds": 1},
        },
        {"stage": "tool.args", "guard": "*", "verdict": "allow", "count": 2},
    ]  # fmt: skip


def test_an_agent_has_the_shipped_guards_and_its_own_before_the_last() -> None:
    own = says("own", allow())
    names = [guard.name for guard in with_shipped("a", [own])]
    assert names == ["sizes", "secrets", "loops", "links", "own", "taint"]


def test_a_guard_of_a_shipped_name_takes_its_place() -> None:
    own = Secrets(mode="allow")
    guards = with_shipped("a", [own])
    assert [guard for guard in guards if guard.name == "secrets"] == [own]
    assert len(guards) == 5


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        ([says("same", allow()), says("same", allow())], "two guards named same"),
        (["secrets"], "is not a guard"),
        ([Says("nowhere", lambda _: allow(), frozenset())], "is not a guard"),
        ([Says("odd", lambda _: allow(), frozenset({"job.start"}))], "is not a guard"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_declared(guards: list[Any], words: str) -> None:
    with pytest.raises(Misdeclared, match=words):
        Agent(name="a", model="offline", instructions="", guards=guards)


def test_a_confidence_is_a_share() -> None:
    with pytest.raises(Misdeclared, match="no share"):
        Agent(name="a", model="offline", instructions="", confidence_min=95)


@pytest.mark.parametrize("said", [None, True, allow(at=Decimal(1)), replace({1, 2}, "a set")])
def test_what_is_no_verdict_that_can_be_kept_is_a_block(said: Any) -> None:
    found = round_of(says("odd", said), value="value")
    assert (found.kind, found.reason) == (
        Kind.BLOCK,
        "The guard could not judge it: TypeError. (odd)",
    )


def test_a_store_that_is_away_is_no_verdict_but_after_a_call() -> None:
    def look(_: Any) -> Verdict:
        raise Unreachable("Postgres does not answer.")

    with pytest.raises(Unreachable):
        round_of(Says("looks", look), value="value")
    assert round_of(Says("looks", look), value="v", stage=Stage.TOOL_RESULT).kind is Kind.BLOCK

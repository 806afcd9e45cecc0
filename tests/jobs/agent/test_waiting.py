"""Waits are values that are right when they exist: whatever cannot be waited for is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import jobs
from jobs import NOTHING, AskUser, Child, Delegate, Sleep, Wait, WaitFor, tool
from jobs.errors import Misdeclared

TEN_YEARS_S = 10 * 366 * 86_400
CHILD = Child("writer", {"ask": "Write."})


@pytest.mark.parametrize(
    "wait",
    [
        Sleep(0),
        Sleep(2.5, value={"a": [1]}),
        Sleep(until=datetime.now(UTC) + timedelta(days=90)),
        Sleep(until=datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
        WaitFor("paid"),
        WaitFor("paid", expires_s=60, default=None),
        AskUser("Which one?"),
        AskUser("Which one?", ("this", "that"), expires_s=60, default="that"),
        Delegate(CHILD),
        Delegate(*[CHILD] * 100, expires_s=0.5),
    ],
)
def test_what_can_be_waited_for_is_a_wait_that_nobody_changes(wait: Wait) -> None:
    assert isinstance(wait, Wait)
    with pytest.raises((FrozenInstanceError, TypeError)):
        wait.expires_s = 1  # type: ignore[misc, union-attr]
    assert copy.deepcopy(wait) == pickle.loads(pickle.dumps(wait)) == wait


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sleep(), "either seconds or until"),
        (lambda: Sleep(1, until=datetime.now(UTC)), "either seconds or until"),
        (lambda: Sleep(-1), "cannot take -1 seconds"),
        (lambda: Sleep(float("nan")), "cannot take nan seconds"),
        (lambda: Sleep(float("inf")), "cannot take inf seconds"),
        (lambda: Sleep(TEN_YEARS_S), "more than ten years"),
        (lambda: Sleep(True), "number of seconds, not bool"),
        (lambda: Sleep(timedelta(seconds=1)), "number of seconds, not timedelta"),  # type: ignore[arg-type]
        (lambda: Sleep(until=datetime(2030, 1, 1)), "give it a timezone"),
        (lambda: Sleep(until="tomorrow"), "datetime for until, not str 'tomorrow'"),  # type: ignore[arg-type]
        (lambda: Sleep(until=datetime.now(UTC) + timedelta(days=3700)), "more than ten years"),
        (lambda: Sleep(1, value=object()), "value of Sleep cannot be kept as JSON"),
        (lambda: WaitFor(""), "signal of WaitFor is empty"),
        (lambda: WaitFor("x" * 201), "201 characters; 200 are the most"),
        (lambda: WaitFor(7), "signal of WaitFor is a text, not int"),  # type: ignore[arg-type]
        (lambda: WaitFor("paid", expires_s=0), "expiry of WaitFor cannot take 0 seconds"),
        (lambda: WaitFor("paid", expires_s=TEN_YEARS_S), "more than ten years"),
        (lambda: WaitFor("paid", default=1), "never expires, so its default"),
        (lambda: WaitFor("paid", expires_s=1, default=object()), "default of WaitFor cannot be"),
        (lambda: AskUser(" \n"), "question of AskUser is empty"),
        (lambda: AskUser("x" * 10_001), "10,001 characters; 10,000 are"),
        (lambda: AskUser("Go?", "yes"), "a list of texts, not str 'yes'"),  # type: ignore[arg-type]
        (lambda: AskUser("Go?", ("yes", "")), "choice of AskUser is empty"),
        (lambda: AskUser("Go?", ("yes", 1)), "choice of AskUser is a text, not int"),  # type: ignore[arg-type]
        (lambda: AskUser("Go?", ("yes", "yes")), "are the same"),
        (lambda: AskUser("Go?", tuple(map(str, range(101)))), "at most 100 choices, not 101"),
        (
            lambda: AskUser("Go?", ("yes", "no"), expires_s=1, default="maybe"),
            "'maybe' of AskUser is none of its choices: yes, no",
        ),
        (
            lambda: AskUser("Go?", ("yes", "no"), expires_s=1, default=None),
            "None of AskUser is none of its choices",
        ),
        (lambda: AskUser("Go?", default="yes"), "never expires, so its default"),
        (lambda: Child(""), "agent of Child is empty"),
        (lambda: Child("a", ["ask"]), "input of Child is a dict, not list"),  # type: ignore[arg-type]
        (lambda: Child("a", {"ask": object()}), "input of Child cannot be kept as JSON"),
        (lambda: Child("a", deadline_s=0), "deadline of Child cannot take 0 seconds"),
        (lambda: Delegate(), "between 1 and 100 children, not 0"),
        (lambda: Delegate(*[CHILD] * 101), "between 1 and 100 children, not 101"),
        (lambda: Delegate("writer"), r"takes Child\(agent, input\), not str 'writer'"),  # type: ignore[arg-type]
        (lambda: Delegate(CHILD, expires_s=-1), "expiry of Delegate cannot take -1"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_with_a_sentence(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(Misdeclared, match=message):
        make()


def test_no_default_is_not_the_default_none() -> None:
    assert WaitFor("paid").default is NOTHING
    assert WaitFor("paid", expires_s=1, default=None).default is None
    assert copy.deepcopy(NOTHING) is pickle.loads(pickle.dumps(NOTHING)) is NOTHING
    assert repr(WaitFor("paid")) == "WaitFor(signal='paid', expires_s=None, default=NOTHING)"


def test_choices_may_be_written_as_a_list() -> None:
    assert AskUser("Go?", ["yes", "no"]).choices == ("yes", "no")  # type: ignore[arg-type]


def test_children_keep_their_order() -> None:
    waiting = Delegate(Child("a"), Child("b", {"n": 1}, deadline_s=60), expires_s=9)
    assert [child.agent for child in waiting.children] == ["a", "b"]
    assert (waiting.children[0].input, waiting.expires_s) == ({}, 9)


def test_a_tool_may_say_that_it_waits() -> None:
    @tool(effect="write", policy=[])
    def order(item: str) -> str | Wait:
        """Order it, or ask first."""
        return AskUser(f"Order {item}?", ("yes", "no"))

    assert list(order.definition.parameters_json_schema["properties"]) == ["item"]


@pytest.mark.parametrize("name", jobs.__all__)
def test_the_face_of_the_house_shows_all_it_names(name: str) -> None:
    assert getattr(jobs, name) is not None

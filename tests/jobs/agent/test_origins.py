"""Origins: what a tool declares, and that nobody below may do what nobody above may."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import Agent, Tool, tool
from jobs.agent.origins import EVERY_ORIGIN
from jobs.errors import Misdeclared
from store.invocation import Invocation
from store.states import Origin

FIRST = sorted(EVERY_ORIGIN - {Origin.AGENT})


def make(origins: Any = None, name: str = "look") -> Tool:
    @tool(effect="read", name=name, origins=origins)
    def look() -> str:
        """Look."""
        return "seen"

    return look


def came_by(*line: Origin) -> Invocation:
    """A job of a line that came by these, its own origin last."""
    return Invocation(origin=line[-1], root_id=uuid4(), origins_above=line[:-1])


# --- what is declared -----------------------------------------------------------------------------


@pytest.mark.parametrize("origin", EVERY_ORIGIN)
def test_a_tool_that_says_nothing_is_for_everybody(origin: Origin) -> None:
    assert make().why_not_available_to(came_by(origin)) is None


def test_a_tool_is_for_the_origins_it_names_and_for_what_agents_ask_for_below_them() -> None:
    named = make(["api", Origin.CHAT])
    assert named.origins == {"api", "chat", "agent"}
    for line in ([Origin.API], [Origin.CHAT], [Origin.API, Origin.AGENT, Origin.AGENT]):
        assert named.why_not_available_to(came_by(*line)) is None


@pytest.mark.parametrize(
    "line",
    [
        [Origin.SCHEDULE],
        [Origin.SCHEDULE, Origin.AGENT],
        [Origin.SCHEDULE, Origin.AGENT, Origin.API],
        [Origin.API, Origin.SCHEDULE],
    ],
)
def test_one_other_origin_anywhere_in_the_line_is_enough(line: list[Origin]) -> None:
    reason = make(("api", "chat"), name="order").why_not_available_to(came_by(*line))
    assert reason is not None
    assert "'order' is not available" in reason
    assert "came by schedule, and the tool is for api, chat only" in reason


@pytest.mark.parametrize(
    ("origins", "says"),
    [
        ("api", "not one text"),
        ([], "nobody could ever call"),
        (["agent"], "nobody could ever call"),
        (["cron"], "'cron' is none of the origins agent, api, chat"),
        ([7], "7 is none of"),
    ],
)
def test_what_cannot_be_meant_is_refused(origins: Any, says: str) -> None:
    with pytest.raises(Misdeclared, match=says):
        make(origins)


def test_a_model_is_offered_what_is_available_and_the_version_does_not_depend_on_it() -> None:
    kept, gone = make(("schedule",), "kept"), make(("api",), "gone")
    agent = Agent("a", "offline", "", tools=[kept, gone])
    assert agent.tools_for(came_by(Origin.SCHEDULE)) == [kept]
    assert agent.tools_for(came_by(Origin.SCHEDULE, Origin.AGENT)) == [kept]
    assert agent.tools_for(came_by(Origin.CHAT)) == []
    opened = Agent("a", "offline", "", tools=[kept, make(None, "gone")])
    assert opened.version == agent.version, "a door that is shut is shut for jobs under way, too"


# --- what holds for every line --------------------------------------------------------------------

origins = st.sampled_from(sorted(EVERY_ORIGIN))
lines = st.lists(origins, min_size=1, max_size=6)
declared = st.none() | st.lists(origins, max_size=6).filter(lambda some: {*some} - {Origin.AGENT})
tools = st.lists(declared, min_size=1, max_size=8)


def available(named: list[Any], invocation: Invocation) -> set[int]:
    made = [make(each, f"tool_{n}") for n, each in enumerate(named)]
    return {n for n, each in enumerate(made) if each.why_not_available_to(invocation) is None}


@given(tools, lines, origins)
def test_whatever_is_available_to_a_child_is_available_to_its_parent(
    named: list[Any], line: list[Origin], own: Origin
) -> None:
    parent, child = came_by(*line), came_by(*line, own)
    assert available(named, child) <= available(named, parent)
    if own is Origin.AGENT:
        assert available(named, child) == available(named, parent), "and nothing is lost either"


@given(declared, lines)
def test_a_tool_is_available_where_every_door_of_the_line_is_named(
    named: Any, line: list[Origin]
) -> None:
    allowed = set(EVERY_ORIGIN if named is None else named) | {Origin.AGENT}
    is_available = available([named], came_by(*line)) == {0}
    assert is_available is all(door in allowed for door in line)

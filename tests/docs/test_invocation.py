"""The page about invocation: its settings are those that are, and its examples can be declared."""

from __future__ import annotations

import re

import pytest

from jobs import Agent, tool
from jobs.settings import Settings
from jobs.web.callers import Entry
from store.states import Origin
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "invocation.md").read_text()


def test_every_origin_is_told_of() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `origin` |"))
    assert set(re.findall(r"`(\w+)`", row)) - {"origin"} == set(Origin)


def test_the_tool_of_the_page_can_be_declared() -> None:
    (block,) = re.findall(r"^```python\n(@tool.*?)^```", PAGE, re.M | re.S)
    exec(block, {"tool": tool})


def test_the_agent_of_the_page_can_be_declared() -> None:
    (block,) = re.findall(r"^```python\n(from jobs.*?)^```", PAGE, re.M | re.S)
    names: dict[str, Agent] = {}
    exec(block, names)
    (made,) = names["lead"].tools
    schema = made.definition.parameters_json_schema
    assert schema["properties"]["agent"]["enum"] == ["analyst", "clerk"]


@pytest.mark.parametrize("name", ["depth_max", "children_max", "descendants_max"])
def test_the_defaults_of_the_page_are_those_that_are(name: str) -> None:
    (told,) = re.findall(rf"^\| `STEPWELL_{name.upper()}` \| (\d+) \|", PAGE, re.M)
    assert int(told) == Settings.model_fields[name].default


def test_the_fields_of_the_page_are_those_of_the_file() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
    assert set(re.findall(r"^(\w+) =", block, re.M)) == set(Entry.model_fields)

"""The registry: what the named modules declare, found by name; and what cannot be declared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import Agent, Pipeline, tool
from jobs.agent.registry import Registry
from jobs.errors import Misdeclared, UnknownAgent

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.syspath_prepend(str(tmp_path))
    written: list[str] = []

    def module(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(f'"""For a test."""\n{text}\n')
        written.append(name)

    yield module  # type: ignore[misc]
    for name in written:
        sys.modules.pop(name, None)


AGENT = "from jobs import Agent\n{0} = Agent('{0}', 'openai:x', 'Be brief.')"


def test_every_named_module_is_searched(write: Write) -> None:
    write("registry_one", AGENT.format("ann"))
    write("registry_two", AGENT.format("bob") + "\nalso = bob\nother = 7")
    assert sorted(Registry.load(" registry_one, registry_two ,").agents) == ["ann", "bob"]


def test_an_agent_that_two_modules_share_is_one(write: Write) -> None:
    write("registry_one", AGENT.format("ann"))
    write("registry_two", "from registry_one import ann")
    assert list(Registry.load("registry_one,registry_two").agents) == ["ann"]


def test_two_of_one_name_are_refused(write: Write) -> None:
    write("registry_one", AGENT.format("ann"))
    write("registry_two", AGENT.format("ann"))
    with pytest.raises(Misdeclared, match="'ann'"):
        Registry.load("registry_one,registry_two")


def test_a_module_that_does_not_exist_is_named_with_its_setting() -> None:
    with pytest.raises(Misdeclared, match=r"STEPWELL_AGENTS.*no_such_module"):
        Registry.load("no_such_module")


def test_a_module_that_lacks_something_itself_says_what(write: Write) -> None:
    write("registry_one", "import no_such_library")
    with pytest.raises(Misdeclared, match="no_such_library"):
        Registry.load("registry_one")


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    registry = Registry([Agent("analyst", "openai:x", ""), Agent("writer", "openai:x", "")])
    with pytest.raises(UnknownAgent, match=r"Did you mean 'analyst'\? Served: analyst, writer"):
        registry.find("analist")
    with pytest.raises(UnknownAgent, match=r"here\. Served"):
        registry.find("zzz")
    with pytest.raises(UnknownAgent, match="Served: none"):
        Registry([]).find("x")


@tool(effect="read")
def look() -> None:
    """Look."""


def test_an_agent_with_two_tools_of_one_name_is_refused() -> None:
    with pytest.raises(Misdeclared, match="look"):
        Agent("a", "openai:x", "", tools=[look, look])


def test_a_tool_cannot_take_the_name_of_the_answer() -> None:
    @tool(effect="read", name="final_answer")
    def answer() -> None:
        """Answer."""

    with pytest.raises(Misdeclared, match="final_answer"):
        Agent("a", "openai:x", "", tools=[answer])


def test_an_answer_that_is_no_object_is_refused() -> None:
    with pytest.raises(Misdeclared, match="object"):
        _ = Agent("a", "openai:x", "", output_type=int).answer_tool


@pytest.mark.parametrize("steps", [[], [len, len]])
def test_a_pipeline_that_cannot_work_is_refused(steps: list[Callable[..., object]]) -> None:
    with pytest.raises(Misdeclared, match="'p'"):
        Pipeline("p", steps)


def test_a_version_changes_with_what_a_model_is_shown_and_with_nothing_else() -> None:
    def version(instructions: str = "i", tools: tuple[object, ...] = (), model: str = "m") -> str:
        return Agent("a", model, instructions, tools=tools).version  # type: ignore[arg-type]

    assert version() == version(model="other")
    assert len({version(), version("j"), version(tools=(look,))}) == 3


def test_importing_the_face_of_the_house_is_light() -> None:
    import subprocess

    heavy = "{'duckdb','matplotlib','celery','sqlalchemy','pydantic_ai'}"
    code = f"import jobs, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""A dry replay: what a real job decided, beside what the same code would decide now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from structlog.testing import capture_logs

from broker.settings import BrokerSettings
from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from tests import programs
from tests.conftest import Database
from tests.housing import Household
from tests.jobs.cli.conftest import Run
from tests.jobs.serving import Served, serve
from tests.processes import PROGRAMS, Viewer
from tests.programs import as_input

SCRIPT = as_input([("echo", {"text": "a"}), ("post", {"what": "x"})], [("add", {"a": 1})])


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    agents = (programs.scripted, programs.walk, programs.typed)
    with capture_logs(), serve(database, redis_url, tmp_path / "home", agents=agents) as api:
        yield api


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEST_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("STEPWELL_AGENTS", PROGRAMS)
    return tmp_path / "ledger"


@pytest.fixture
def household(
    served: Served, database: Database, broker_settings: BrokerSettings, redis_url: str
) -> Iterator[Household]:
    settings = Settings(agents=PROGRAMS, home=served.home)
    desk = Desk.open(settings, database.settings, broker_settings)
    opened = Household(Viewer(desk), redis_url, settings)
    yield opened
    opened.close()
    desk.close()


def done(household: Household, agent: str = "scripted", given: Any = SCRIPT) -> UUID:
    """A job that a real worker has run to its end."""
    job_id = household.viewer.submit(agent, given)
    assert household.run(job_id).status == "completed"
    return job_id


def change_model(monkeypatch: pytest.MonkeyPatch, decide: Any) -> None:
    """Let the scripted agent be one that decides by this function from now on."""
    monkeypatch.setattr(
        programs, "scripted", replace(programs.scripted, model=FunctionModel(decide))
    )


def test_what_is_decided_as_before_is_the_same_and_nothing_is_done(
    run: Run, served: Served, household: Household, ledger: Path
) -> None:
    job_id = done(household)
    before, written = served.hand.dump(), ledger.read_text()
    said = run("replay", job_id, "--dry")
    assert said.code == 0, said.err
    assert said.out.count("= same") == 3
    assert "3 of 3 decisions the same" in said.err
    assert served.hand.dump() == before
    assert ledger.read_text() == written


def test_what_is_decided_otherwise_is_shown_step_by_step(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household)

    def decide(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        decided = programs.follow_script(messages, info)
        parts = [
            ToolCallPart("add", {"a": 2}, tool_call_id="x")
            if isinstance(part, ToolCallPart) and part.tool_name == "add"
            else part
            for part in decided.parts
        ]
        return ModelResponse(parts=parts)

    change_model(monkeypatch, decide)
    said = run("replay", job_id, "--dry")
    assert said.code == 1
    assert said.out.count("= same") == 2
    assert "≠ differs" in said.out
    assert "-   a: 1" in said.out
    assert "+   a: 2" in said.out
    assert "2 of 3 decisions the same" in said.err
    told = json.loads(run("replay", job_id, "--dry", "--json").out)
    assert [step["verdict"] for step in told["steps"]] == ["same", "differs", "same"]
    assert told["steps"][1]["diff"] == ["  add", "-   a: 1", "+   a: 2"]
    assert (told["is_same"], told["agent"]) == (False, "scripted")


def test_a_model_that_does_not_answer_fails_the_replay(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household)

    def refuse(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise ConnectionRefusedError(111, "nobody \x1b[31m there")

    change_model(monkeypatch, refuse)
    said = run("replay", job_id, "--dry")
    assert said.code == 1
    assert "✗ unanswered" in said.out
    assert "nobody" in said.out
    assert "\x1b" not in said.out + said.err
    assert "nothing after that was asked" in said.err
    assert run("replay", job_id, "--dry", "--model", "offline").code == 0, "another one may answer"


def test_a_version_that_has_changed_is_told(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household)
    assert "ran version" not in run("replay", job_id, "--dry").err
    changed = replace(programs.scripted, instructions="Follow the script, please.")
    monkeypatch.setattr(programs, "scripted", changed)
    said = run("replay", job_id, "--dry")
    assert said.code == 0
    assert f"here it is version {changed.version}" in said.err


def test_a_typed_answer_is_compared(run: Run, household: Household) -> None:
    job_id = done(household, "typed", {"ask": "?"})
    assert run("replay", job_id, "--dry").code == 0


def test_a_pipeline_is_compared_by_its_steps(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household, "walk", {})
    assert run("replay", job_id, "--dry").code == 0
    shorter = replace(programs.walk, steps=programs.walk.steps[:3])
    monkeypatch.setattr(programs, "walk", shorter)
    said = run("replay", job_id, "--dry")
    assert said.code == 1
    assert "- step.walk.fourth" in said.out
    assert "3 of 4 steps the same" in said.err
    assert run("replay", job_id, "--dry", "--model", "offline").code == 2


def test_a_job_that_has_decided_nothing_yet_has_nothing_to_compare(
    run: Run, household: Household
) -> None:
    job_id = household.viewer.submit("scripted", SCRIPT)
    said = run("replay", job_id, "--dry")
    assert (said.code, said.out) == (0, "")
    assert "nothing to compare" in said.err


def test_what_cannot_be_replayed_is_refused(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household)
    wet = run("replay", job_id)
    assert wet.code == 2
    assert "dead-letters replay" in wet.err
    assert run("replay", job_id, "--dry", "--model", "nonsense").code == 2
    monkeypatch.setenv("STEPWELL_AGENTS", "jobs.examples.analyst")
    elsewhere = run("replay", job_id, "--dry")
    assert elsewhere.code == 2
    assert "STEPWELL_AGENTS" in elsewhere.err
    monkeypatch.setenv("STEPWELL_AGENTS", "no.such.module")
    assert run("replay", job_id, "--dry").code == 2


def test_a_long_difference_is_cut_and_says_so(
    run: Run, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(household)
    many = "\n".join(f"line {n}" for n in range(100))
    change_model(monkeypatch, lambda *_: ModelResponse(parts=[TextPart(many)]))
    said = run("replay", job_id, "--dry")
    assert said.code == 1
    assert "more lines: use --json" in said.out
    assert len(said.out.splitlines()) < 100

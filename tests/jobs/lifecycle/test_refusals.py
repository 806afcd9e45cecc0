"""Calls of tools that are not available: not offered, refused when planned and when claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from store.rows import EventRow
from store.states import JobStatus, Origin, StepState, Work
from tests.housing import Household, decide, forge, hand_of, lose_worker, replay, tool_steps
from tests.programs import as_input

REACH = ("reach", {"what": "out"})
ECHO = ("echo", {"text": "hi"})


def submit(household: Household, *turns: list[tuple[str, Any]], origin: Origin) -> UUID:
    return household.viewer.submit("guarded", as_input(*turns), origin=origin)


def refused(household: Household, job_id: UUID) -> list[EventRow]:
    return [e for e in household.viewer.events(job_id) if e.type == "call.refused"]


def reached(ledger: Path) -> list[str]:
    """What the tools did to the world."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in lines if line.startswith("reach")]


def offered(ledger: Path) -> set[str]:
    """Every tool that a model was ever shown."""
    lines = ledger.read_text().splitlines()
    return {name for line in lines if line.startswith("offered") for name in line.split()[1:]}


# --- a model --------------------------------------------------------------------------------------


def test_what_is_available_is_offered_and_called(household: Household, ledger: Path) -> None:
    job_id = submit(household, [REACH], origin=Origin.CHAT)
    assert household.run(job_id).output == "done: reached out"
    assert "reach" in offered(ledger)
    assert (len(reached(ledger)), refused(household, job_id)) == (1, [])


def test_a_call_of_what_was_not_offered_is_refused_and_the_model_is_told(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, [REACH, ECHO], origin=Origin.SCHEDULE)
    job = household.run(job_id)
    assert (job.status, reached(ledger)) == (JobStatus.COMPLETED, [])
    assert offered(ledger) == {"echo", "delegate"}
    denied, echoed = tool_steps(household.viewer, job_id)
    assert (denied.name, denied.state, denied.work) == ("tool.reach", "committed", Work.WAITS)
    assert denied.input["args"] == {"what": "out"}, "it is kept what was asked for"
    assert (denied.output["outcome"], denied.effect_epoch) == ("denied", None)
    assert (echoed.output["outcome"], echoed.output["content"]) == ("success", "hi")
    for told in (denied.output["content"], job.output):
        assert "'reach' is not available to this job" in told
        assert "came by schedule, and the tool is for api, chat only" in told
    (event,) = refused(household, job_id)
    assert event.data == {
        "seq": denied.seq,
        "tool": "reach",
        "code": "origin",
        "reason": denied.input["refused"],
    }
    household.viewer.check_history(job_id)


@pytest.mark.parametrize("origin", [Origin.SCHEDULE, Origin.WEBHOOK, Origin.MCP])
def test_nobody_has_it_done_by_somebody_below(
    household: Household, ledger: Path, origin: Origin
) -> None:
    """A child came by an agent, and by whatever its parent came by."""
    inner = as_input([REACH])
    hand_on = ("delegate", {"agent": "guarded", "input": inner})
    line = ("delegate", {"agent": "guarded_line", "input": {}})
    outer = as_input([("delegate", {"agent": "guarded", "input": as_input([hand_on, line])})])
    job_id = household.viewer.submit("guarded", outer, origin=origin)
    assert household.run(job_id).status is JobStatus.COMPLETED
    (middle,) = hand_of(household.viewer).children(job_id)
    by_model, by_line = hand_of(household.viewer).children(middle.id)
    assert [event.data["tool"] for event in refused(household, by_model.id)] == ["reach"]
    assert (by_line.status, by_line.status_reason) == (JobStatus.FAILED, "forbidden")
    assert (reached(ledger), "reach" in offered(ledger)) == ([], False)


# --- a step in the table --------------------------------------------------------------------------

FORGED = {"tool": "reach", "call_id": "0-0", "args": {"what": "out"}}


@pytest.mark.parametrize(
    "columns",
    [
        {"name": "tool.reach"},
        {"name": "tool.unknown"},
        {"name": "tool.echo"},
        {"name": "tool.reach", "kind": "function"},
    ],
    ids=str,
)
def test_a_forged_step_does_nothing(
    household: Household, ledger: Path, columns: dict[str, Any]
) -> None:
    job_id = submit(household, [ECHO], origin=Origin.SCHEDULE)
    run_model_step(household, job_id)
    forge(household.viewer, job_id, 2, input=FORGED, **columns)
    job = household.run(job_id)
    assert (job.status, reached(ledger)) == (JobStatus.COMPLETED, [])
    assert [event.data["tool"] for event in refused(household, job_id)] == ["reach"]
    assert household.viewer.steps(job_id)[1].effect_epoch is None


def run_model_step(household: Household, job_id: UUID) -> None:
    """Run the first step; what it plans is not known to be quick, so it does not ride along."""
    household.run_step(job_id)
    assert household.viewer.steps(job_id)[1].state is StepState.READY


def test_what_was_refused_when_it_was_planned_stays_refused(
    household: Household, ledger: Path
) -> None:
    """Though it is available to this job, as it may be to the code that claims it."""
    job_id = submit(household, [ECHO], origin=Origin.CHAT)
    run_model_step(household, job_id)
    forge(household.viewer, job_id, 2, input=FORGED | {"refused": "Not then."}, name="tool.reach")
    household.run(job_id)
    (event,) = refused(household, job_id)
    assert (event.data["reason"], reached(ledger)) == ("Not then.", [])


def test_a_call_in_doubt_is_asked_about_and_not_made_again(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, [ECHO], origin=Origin.SCHEDULE)
    run_model_step(household, job_id)
    forge(household.viewer, job_id, 2, input=FORGED, name="tool.reach")
    lose_worker(household.viewer, job_id, 2, begun=True)
    household.run_until_parked(job_id)
    decide(household.viewer, job_id, "again")
    household.run(job_id)
    (event,) = refused(household, job_id)
    assert "It was begun when it still was" in event.data["reason"]
    assert reached(ledger) == []


# --- a pipeline -----------------------------------------------------------------------------------


def test_a_pipeline_gives_up_at_a_tool_that_is_not_available(
    household: Household, ledger: Path
) -> None:
    job_id = household.viewer.submit("guarded_line", {}, origin=Origin.WEBHOOK)
    job = household.run(job_id)
    assert (job.status, job.status_reason, job.steps_done) == (JobStatus.FAILED, "forbidden", 2)
    assert job.error is not None
    assert "'reach' is not available to this job" in job.error["message"]
    assert "came by webhook" in job.error["message"]
    assert hand_of(household.viewer).letter(job_id).error_class == "forbidden"
    again = household.run(replay(household.viewer, job_id))
    assert (again.status_reason, reached(ledger)) == ("forbidden", [])
    household.viewer.check_history(job_id)


def test_a_pipeline_that_came_as_its_tools_want_runs(household: Household, ledger: Path) -> None:
    job_id = household.viewer.submit("guarded_line", {}, origin=Origin.API)
    assert household.run(job_id).output == "reached 7"
    assert len(reached(ledger)) == 1


def test_a_pipeline_goes_on_without_an_optional_tool(household: Household, ledger: Path) -> None:
    job_id = household.viewer.submit("guarded_gap", {}, origin=Origin.MCP)
    job = household.run(job_id)
    assert (job.status, job.output, reached(ledger)) == (JobStatus.COMPLETED, 7, [])
    assert job.degraded is not None
    assert "came by mcp" in job.degraded[0]["why"]

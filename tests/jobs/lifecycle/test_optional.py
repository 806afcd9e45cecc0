"""Optional work: left out when it fails, is slow or has no room, and the job says what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from broker.gates import Came
from jobs.agent.tool import tool
from jobs.cli.story import Story
from jobs.errors import Misdeclared
from jobs.web.shapes import Job
from store import usage
from store.rows import JobRow
from store.states import JobStatus
from tests.housing import Household, tool_steps
from tests.programs import as_input
from tests.provider.refusals import Refusing, refusing
from tests.running import eventually

CALLERS = "tests.jobs.lifecycle.callers"


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    with refusing(200) as server:
        monkeypatch.setenv("TEST_CRM_URL", server.url)
        yield server


@pytest.fixture
def programs() -> str:
    return CALLERS


def run(household: Household, pipeline: str) -> JobRow:
    job = household.run(household.viewer.submit(pipeline, {"a": 1}))
    assert job.status is JobStatus.COMPLETED
    household.viewer.check_history(job.id)
    return job


def completions(household: Household, job_id: UUID) -> list[dict[str, Any]]:
    return [e.data for e in household.viewer.events(job_id) if e.type == "step.completed"]


def set_level(household: Household, level: int, *, age_s: float = 0.0) -> None:
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(
            text(
                "update stepwell.load set level = :level,"
                " measured_at = now() - make_interval(secs => :age_s)"
            ),
            {"level": level, "age_s": age_s},
        )
    household.house._level_read_at = float("-inf")


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


# --- pipelines ------------------------------------------------------------------------------------


def test_a_failing_step_hands_on_the_value_that_it_was_given(household: Household) -> None:
    job = run(household, "adorned")
    assert job.output == ["begun", "ended"]
    assert job.degraded == [
        {"seq": 2, "name": "step.adorned.break_down", "why": "ValueError: it broke"}
    ]
    assert [told["outcome"] for told in completions(household, job.id)] == [
        "success",
        "degraded",
        "success",
    ]
    assert household.viewer.steps(job.id)[1].attempts == 0


def test_a_slow_step_is_left_out_at_its_budget(household: Household, ledger: Path) -> None:
    job = run(household, "adorned_slowly")
    ledger.with_name("gate-dawdle").touch()
    assert job.output == ["begun", "ended"]
    assert job.degraded is not None
    assert "took longer" in job.degraded[0]["why"]
    step = household.viewer.steps(job.id)[1]
    assert 0.4 < (step.committed_at - step.claimed_at).total_seconds() < 5  # type: ignore[operator]
    eventually(lambda: household.house.watch.count() == 0)


def test_the_last_step_may_be_left_out(household: Household) -> None:
    job = run(household, "adorned_last")
    assert job.output == "begun"
    assert job.degraded is not None


def test_the_first_step_may_be_left_out(household: Household) -> None:
    assert run(household, "adorned_first").output == [{"a": 1}, "ended"]


def test_a_job_that_lacks_nothing_says_nothing(household: Household) -> None:
    job = run(household, "adorned_by_chance")
    assert job.output == [["begun", "prettier"], "ended"]
    assert job.degraded is None


# --- gates and levels -----------------------------------------------------------------------------


def test_before_a_shut_gate_an_optional_step_is_left_out_at_once(
    household: Household, crm: Refusing
) -> None:
    gates = household.house.gates
    held = gates.enter("crm", "somebody", lease_s=5)
    gates.leave(held, Came.RATE_LIMITED, retry_after_s=60)
    job = run(household, "adorned_from_outside")
    assert job.output == ["begun", "ended"]
    assert job.degraded is not None
    assert "crm" in job.degraded[0]["why"]
    assert crm.asked == []


def test_an_optional_call_that_is_refused_is_not_made_again(
    household: Household, crm: Refusing
) -> None:
    crm.status = 503
    assert run(household, "adorned_from_outside").degraded is not None
    assert len(crm.asked) == 1


def test_when_there_is_too_much_to_do_optional_steps_are_not_begun(
    household: Household, ledger: Path
) -> None:
    set_level(household, 1)
    job = run(household, "adorned_by_chance")
    assert job.output == ["begun", "ended"]
    assert job.degraded is not None
    assert lines(ledger) == []


def test_a_level_that_nobody_has_measured_lately_is_none(
    household: Household, ledger: Path
) -> None:
    set_level(household, 3, age_s=120.0)
    assert run(household, "adorned_by_chance").degraded is None


# --- agents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "why"), [("break_down", "it broke"), ("dawdle", "took longer")])
def test_a_model_is_told_to_go_on_without_it(
    household: Household, ledger: Path, name: str, why: str
) -> None:
    script = as_input([(name, {})], [("take_a_chance", {})])
    job = household.run(household.viewer.submit("crm_agent", script))
    ledger.with_name("gate-dawdle").touch()
    assert job.status is JobStatus.COMPLETED
    household.viewer.check_history(job.id)
    dropped, chance = tool_steps(household.viewer, job.id)
    assert "go on without it" in dropped.output["content"]
    assert why in dropped.output["content"]
    assert dropped.output["outcome"] == "success", "it is no failed call of the model's"
    assert chance.output["content"] == [None, "prettier"]
    assert [each["name"] for each in job.degraded or ()] == [f"tool.{name}"]
    eventually(lambda: household.house.watch.count() == 0)


def test_parallel_calls_are_joined_whatever_is_left_out(household: Household) -> None:
    script = as_input([("break_down", {}), ("take_a_chance", {}), ("break_down", {})])
    job = household.run(household.viewer.submit("crm_agent", script))
    assert job.status is JobStatus.COMPLETED
    household.viewer.check_history(job.id)
    assert sorted(each["seq"] for each in job.degraded or ()) == [2, 4]


# --- what people see ------------------------------------------------------------------------------


def test_people_are_shown_what_was_left_out_and_why(household: Household) -> None:
    job = run(household, "adorned")
    story = Story()
    told = [
        story.hear({"id": e.id, "type": e.type, "data": e.data, "at": e.at.isoformat()})
        for e in household.viewer.events(job.id)
    ]
    (line,) = [line for line in told if line and "left out" in line]
    assert "step.adorned.break_down" in line
    assert "it broke" in line
    with household.viewer.desk.doors.as_tenant(household.viewer.tenant_id) as tx:
        shown = Job.of(job, usage.total(tx, job))
    assert shown.model_dump(mode="json")["degraded"] == job.degraded


# --- declarations ---------------------------------------------------------------------------------


def helpful() -> str:
    """Help."""
    return "help"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optional": True, "effect": "external"}, "must not happen twice"),
        ({"budget_s": 1.0}, "needs optional=True"),
        ({"budget_s": 0.0, "optional": True}, "after 0.0 seconds"),
        ({"dependency": "The CRM"}, "does not name a dependency"),
        ({"dependency": ""}, "does not name a dependency"),
        ({"on_rate_limit": "press"}, "none of dead_letter, park"),
    ],
)
def test_what_cannot_be_declared_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(Misdeclared, match=says):
        tool(**({"effect": "read"} | options))(helpful)

"""What came by a schedule makes none, whichever way round it tries, and each try is told of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from jobs.agent.diary import ScheduleWish
from jobs.errors import Refused
from jobs.lifecycle import schedules as made
from jobs.lifecycle.schedules import Maker
from store.approvals import Became
from store.forks import Forked
from store.rows import EventRow, JobRow
from store.schedules import ScheduleRow
from store.states import Decision, JobStatus, Origin, StepState
from tests.asking import Asker, say
from tests.housing import Household, forge, hand_of, lose_worker, replay, tool_steps
from tests.programs import as_input
from tests.ticking import HOUR_S, Clockwork

ANN = Maker("ann", ("analyst",))
WISH: dict[str, Any] = {"name": "another", "input": as_input(), "every_s": HOUR_S}
SCHEDULE = ("schedule", WISH)
ECHO = ("echo", {"text": "hi"})
SOONER = ("reschedule_self", {"after_s": 60.0})
FORGED = {"tool": "schedule", "call_id": "0-0", "args": WISH}


@pytest.fixture
def programs() -> str:
    return "tests.clocked"


@dataclass
class Watched:
    """A household with one schedule of ann's, and what is tried to make it two."""

    household: Household
    clockwork: Clockwork
    ledger: Path

    def tick(self, *turns: list[tuple[str, Any]], agent: str = "sly", **given: Any) -> UUID:
        """The job of the schedule's first tick, whose model asks for these calls."""
        desk, wish = self.household.viewer.desk, given or as_input(*turns)
        row = made.make(
            desk.doors,
            desk.registry,
            self.household.viewer.tenant_id,
            ScheduleWish("nightly", agent, wish, every_s=HOUR_S),
            ANN,
            count_max=9,
        )
        self.clockwork.pass_by(row.id, HOUR_S)
        self.clockwork.tick()
        (job_id,) = self.clockwork.job_ids(row.id)
        return job_id

    def fork(self, job_id: UUID, from_seq: int = 1, **more: Any) -> UUID:
        became, new_id = hand_of(self.household.viewer).fork(job_id, from_seq, **more)
        assert became is Forked.MADE
        return new_id

    def child_of(self, job_id: UUID) -> JobRow:
        (child,) = hand_of(self.household.viewer).children(job_id)
        return child

    def run(self, job_id: UUID) -> JobRow:
        job = self.household.run(job_id)
        assert job.status is JobStatus.COMPLETED, job.error
        return job

    def plan_echo(self) -> UUID:
        """A tick's job whose next step is a call of `echo`, which nobody runs yet."""
        job_id = self.tick([ECHO])
        self.household.run_step(job_id)
        assert self.household.viewer.steps(job_id)[1].state is StepState.READY
        return job_id

    def refusals(self, job_id: UUID) -> list[EventRow]:
        return [e for e in self.household.viewer.events(job_id) if e.type == "call.refused"]

    def check_refused(self, job_id: UUID, tool: str = "schedule") -> None:
        """The try is told of in the story and to the model, and nobody was shown the tool."""
        (event,) = self.refusals(job_id)
        assert (event.data["tool"], event.data["code"]) == (tool, "origin")
        seq = event.data["seq"]
        (step,) = [each for each in tool_steps(self.household.viewer, job_id) if each.seq == seq]
        assert step.output["outcome"] == "denied"
        assert event.data["reason"] in step.output["content"]
        assert "schedule" not in self.offered()
        hand_of(self.household.viewer).check_books(job_id)

    def offered(self) -> set[str]:
        lines = self.ledger.read_text().splitlines()
        return {name for line in lines for name in line.removeprefix("offered ").split()}

    def break_model(self, *, is_broken: bool) -> None:
        self.ledger.with_name("say-model").write_text("fail" if is_broken else "")

    def only(self) -> ScheduleRow:
        (row,) = self.clockwork.every()
        return row


@pytest.fixture
def clockwork(household: Household) -> Clockwork:
    return Clockwork(household.viewer.desk.doors, household.viewer.tenant_id)


@pytest.fixture
def watched(household: Household, clockwork: Clockwork, ledger: Path) -> Iterator[Watched]:
    watched = Watched(household, clockwork, ledger)
    yield watched
    assert watched.only().name == "nightly", "there is no schedule beyond the one"


def test_the_same_calls_make_schedules_for_who_comes_in_person(
    household: Household, clockwork: Clockwork
) -> None:
    """Or the rest of this file would say nothing."""
    more = ("schedule", WISH | {"name": "one more"})
    asked = [SCHEDULE, ("jot", {"name": "jotted"}), ("pass_on", passing_on([more]))]
    job_id = household.viewer.submit("sly", as_input(asked), origin=Origin.CHAT)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert {row.name for row in clockwork.every()} == {"another", "jotted", "one more"}


def passing_on(*turns: list[tuple[str, Any]]) -> dict[str, Any]:
    """The arguments by which a model has another job of the same agent make these calls."""
    return {"agent": "sly", "input": as_input(*turns)}


# --- calls that were not offered ------------------------------------------------------------------


def test_a_call_that_a_model_makes_up_is_refused(watched: Watched) -> None:
    job_id = watched.tick([SCHEDULE, ECHO])
    watched.run(job_id)
    watched.check_refused(job_id)
    refused, echoed = tool_steps(watched.household.viewer, job_id)
    assert (refused.effect_epoch, echoed.output["content"]) == (None, "hi")


@pytest.mark.parametrize("name", ["tool.schedule", "tool.echo"])
def test_a_planned_step_that_was_forged_is_refused_when_it_is_claimed(
    watched: Watched, name: str
) -> None:
    job_id = watched.plan_echo()
    forge(watched.household.viewer, job_id, 2, input=FORGED, name=name)
    watched.run(job_id)
    watched.check_refused(job_id)
    (step,) = tool_steps(watched.household.viewer, job_id)
    assert step.effect_epoch is None, "it was not even begun"


def test_a_forged_step_whose_worker_died_is_not_gone_on_with(watched: Watched) -> None:
    job_id = watched.plan_echo()
    forge(watched.household.viewer, job_id, 2, input=FORGED, name="tool.schedule")
    lose_worker(watched.household.viewer, job_id, 2, begun=True)
    watched.run(job_id)
    watched.check_refused(job_id)


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_seq", [1, 2])
def test_a_fork_of_a_scheduled_job_makes_none(watched: Watched, from_seq: int) -> None:
    job_id = watched.tick([SCHEDULE])
    watched.run(job_id)
    forked = watched.fork(job_id, from_seq)
    assert watched.run(forked).origin is Origin.SCHEDULE
    watched.check_refused(forked)


def test_a_fork_that_is_asked_something_else_makes_none(watched: Watched) -> None:
    job_id = watched.tick([ECHO])
    watched.run(job_id)
    forked = watched.fork(job_id, input=as_input([SCHEDULE]))
    watched.run(forked)
    watched.check_refused(forked)


def test_a_replay_of_a_scheduled_job_makes_none(watched: Watched) -> None:
    job_id = watched.tick([SCHEDULE])
    watched.break_model(is_broken=True)
    assert watched.household.run(job_id).status is JobStatus.FAILED
    watched.break_model(is_broken=False)
    replayed = replay(watched.household.viewer, job_id)
    watched.run(replayed)
    watched.check_refused(replayed)


def test_a_child_of_a_copy_makes_none(watched: Watched) -> None:
    job_id = watched.tick([("pass_on", passing_on([SCHEDULE]))])
    watched.run(job_id)
    forked = watched.fork(job_id)
    watched.run(forked)
    for each in (job_id, forked):
        watched.check_refused(watched.child_of(each).id)


# --- what people say about a call -----------------------------------------------------------------


def test_an_edit_that_has_a_child_asked_to_schedule_makes_none(watched: Watched) -> None:
    job_id = watched.tick([("delegate", passing_on([ECHO]))])
    watched.household.run_until_parked(job_id)
    args = passing_on([SCHEDULE])
    assert say(watched.household, job_id, Decision.EDIT, by="ann", args=args) is Became.GRANTED
    watched.run(job_id)
    child = watched.child_of(job_id)
    assert (child.origins_above, child.requester) == ([Origin.SCHEDULE], "ann")
    watched.check_refused(child.id)


@pytest.mark.parametrize("args", [WISH, FORGED, passing_on([SCHEDULE]) | FORGED], ids=len)
def test_an_edit_makes_no_other_tool_of_a_call(watched: Watched, args: dict[str, Any]) -> None:
    job_id = watched.tick([("delegate", passing_on([ECHO]))])
    watched.household.run_until_parked(job_id)
    with pytest.raises(Refused, match="do not fit 'delegate'"):
        say(watched.household, job_id, Decision.EDIT, by="ann", args=args)
    assert say(watched.household, job_id, by="ann") is Became.GRANTED
    watched.run(job_id)
    (step,) = tool_steps(watched.household.viewer, job_id)
    assert (step.name, step.output["outcome"]) == ("tool.delegate", "success")


def test_nor_does_one_whose_question_was_forged_to_be_about_the_other(
    watched: Watched, asker: Asker
) -> None:
    job_id = watched.tick([("delegate", passing_on([ECHO]))])
    watched.household.run_until_parked(job_id)
    with watched.household.viewer.desk.doors.as_operator("a forger") as tx:
        tx.execute(text("update stepwell.approvals set tool = 'schedule'"))
    assert say(watched.household, job_id, Decision.EDIT, by="ann", args=WISH) is Became.GRANTED
    watched.run(job_id)
    (step,) = tool_steps(watched.household.viewer, job_id)
    assert (step.name, step.output["outcome"]) == ("tool.delegate", "retried")
    assert asker.children(job_id) == []


# --- a tool of one's own --------------------------------------------------------------------------


def test_a_tool_that_makes_one_itself_is_refused_and_the_model_is_told(watched: Watched) -> None:
    job_id = watched.tick([("jot", {"name": "jotted"})])
    assert "cannot make schedules" in str(watched.run(job_id).output)
    watched.check_refused(job_id, "jot")


def test_a_tool_that_says_nothing_of_it_is_told_of(watched: Watched) -> None:
    job_id = watched.tick([("jot_quietly", {"name": "jotted"})])
    assert "all is well" in str(watched.run(job_id).output)
    (event,) = watched.refusals(job_id)
    assert (event.data["tool"], event.data["code"]) == ("jot_quietly", "origin")
    assert "cannot make schedules" in event.data["reason"]


def test_so_it_is_in_a_child_and_in_copies(watched: Watched) -> None:
    job_id = watched.tick([("pass_on", passing_on([("jot", {"name": "jotted"})]))])
    watched.run(job_id)
    child = watched.child_of(job_id)
    forked = watched.fork(child.id, 2)
    watched.run(forked)
    for each in (child.id, forked):
        watched.check_refused(each, "jot")


def test_a_pipeline_that_makes_one_itself_is_given_up(watched: Watched) -> None:
    job_id = watched.tick(agent="jotting", name="jotted")
    job = watched.household.run(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "forbidden")
    assert job.error is not None
    assert "cannot make schedules" in job.error["message"]
    (event,) = watched.refusals(job_id)
    assert event.data["tool"] == "step.jotting.jot"
    assert hand_of(watched.household.viewer).letter(job_id).error_class == "forbidden"


# --- the next run ---------------------------------------------------------------------------------


def test_a_child_of_a_ticks_job_moves_no_next_run(watched: Watched) -> None:
    job_id = watched.tick([("pass_on", passing_on([SOONER]))])
    before = watched.only()
    watched.run(job_id)
    check_not_moved(watched, watched.child_of(job_id).id, before)


def test_a_copy_of_a_ticks_job_moves_no_next_run(watched: Watched) -> None:
    job_id = watched.tick([SOONER])
    before = watched.only()
    watched.break_model(is_broken=True)
    assert watched.household.run(job_id).status is JobStatus.FAILED
    watched.break_model(is_broken=False)
    for copy in (watched.fork(job_id), replay(watched.household.viewer, job_id)):
        watched.run(copy)
        check_not_moved(watched, copy, before)


def check_not_moved(watched: Watched, job_id: UUID, before: ScheduleRow) -> None:
    (step,) = tool_steps(watched.household.viewer, job_id)
    assert step.output["outcome"] == "failed"
    assert "No schedule has made this job" in step.output["content"]
    events = watched.household.viewer.events(job_id)
    (told,) = [e for e in events if e.type == "step.completed" and e.data["seq"] == step.seq]
    assert told.data["outcome"] == "failed"
    assert watched.only() == before

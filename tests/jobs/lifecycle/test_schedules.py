"""Schedules and agents: what they may ask of the time to come, and what their ticks run as."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs.agent.diary import ScheduleWish
from jobs.errors import BadSchedule, InvalidInput, UnknownAgent, UnknownModel
from jobs.lifecycle import schedules as made
from jobs.lifecycle.diary import JobDiary
from jobs.lifecycle.schedules import Maker
from store import approvals, schedules
from store.approvals import Said
from store.rows import JobRow
from store.schedules import ScheduleRow
from store.states import CatchUp, Decision, JobClass, JobStatus, Origin, Overlap, TickState
from tests.clocked import SPRAWL
from tests.housing import Household, hand_of, tool_steps
from tests.processes import Viewer
from tests.programs import as_input
from tests.ticking import Clockwork

AGENTS = "tests.clocked"
CALL: dict[str, Any] = {
    "name": "nightly",
    "input": as_input(),
    "cron": "0 3 * * *",
    "zone": "Europe/Berlin",
}


@pytest.fixture
def programs() -> str:
    return AGENTS


@pytest.fixture
def clockwork(viewer: Viewer) -> Clockwork:
    return Clockwork(viewer.desk.doors, viewer.tenant_id)


def make(viewer: Viewer, maker: Maker | None = None, **more: Any) -> ScheduleRow:
    told: dict[str, Any] = {"name": "nightly", "agent": "clocked", "input": as_input()} | more
    if not {"cron", "every_s", "at"} & told.keys():
        told["every_s"] = 3600
    return made.make(
        viewer.desk.doors,
        viewer.desk.registry,
        viewer.tenant_id,
        ScheduleWish(**told),
        maker or Maker(),
        count_max=5,
    )


def every(viewer: Viewer) -> list[ScheduleRow]:
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        return schedules.list_by_name(tx)


def say(household: Household, *turns: list[tuple[str, Any]], **more: Any) -> JobRow:
    """Let a job of the agent make these calls, and return it when it is over."""
    return household.run(household.viewer.submit("clocked", as_input(*turns), **more))


def told(household: Household, job: JobRow) -> list[Any]:
    """What the model was told of each of its calls."""
    assert job.status is JobStatus.COMPLETED, job.error
    return [step.output["content"] for step in tool_steps(household.viewer, job.id)]


def fire(clockwork: Clockwork, schedule_id: UUID) -> UUID:
    """Let an hour pass; returns the job of the tick that came."""
    clockwork.pass_by(schedule_id, 3600)
    clockwork.tick()
    return clockwork.job_ids(schedule_id)[-1]


# --- making one -----------------------------------------------------------------------------------


def test_a_schedule_is_put_down_with_all_that_its_jobs_begin_with(viewer: Viewer) -> None:
    row = make(
        viewer,
        Maker("ann", ("analyst",), ("chat",)),
        cron="  0   3 * * *",
        zone="Europe/Berlin",
        job_class=JobClass.BATCH,
        model="offline",
        deadline_s=60.0,
        jitter_s=10.0,
        catch_up=CatchUp.ALL,
        catch_up_max=7,
        overlap=Overlap.QUEUE,
    )
    assert (row.cron, row.zone, row.jitter_s) == ("0 3 * * *", "Europe/Berlin", 10.0)
    assert (row.catch_up, row.catch_up_max, row.overlap) == (CatchUp.ALL, 7, Overlap.QUEUE)
    assert (row.job_class, row.model, row.deadline_s) == (JobClass.BATCH, "offline", 60.0)
    assert (row.requester, row.roles, row.origins_above) == ("ann", ["analyst"], ["chat"])
    program = viewer.desk.registry.find("clocked")
    assert row.begins["version"] == program.version
    assert [step["name"] for step in row.begins["steps"]] == ["model.clocked"]
    assert row.next_tick_at is not None
    assert row.next_at is not None
    assert timedelta() <= row.next_at - row.next_tick_at < timedelta(seconds=10)


def test_a_moment_without_a_zone_is_one_on_the_clocks_of_the_schedule(viewer: Viewer) -> None:
    row = make(viewer, at=datetime(2030, 7, 1, 8), zone="Europe/Berlin")
    assert row.once_at == row.next_tick_at == datetime(2030, 7, 1, 6, tzinfo=UTC)
    (run,) = made.next_runs(row)
    assert run.isoformat() == "2030-07-01T08:00:00+02:00"


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"agent": "clokced"}, UnknownAgent, "Did you mean 'clocked'"),
        ({"input": {"turns": 7}}, InvalidInput, "turns"),
        ({"model": "no such model"}, UnknownModel, "no such model"),
        ({"agent": "chime", "input": {}, "model": "offline"}, UnknownModel, "pipeline"),
        ({"cron": "61 * * * *"}, BadSchedule, "bad minute"),
        ({"cron": "* * * * * *"}, BadSchedule, "6 fields"),
        ({"cron": "0 3 * * *", "every_s": 60}, BadSchedule, "exactly one"),
        ({"every_s": 0}, BadSchedule, "interval"),
        ({"every_s": 10, "jitter_s": 11.0}, BadSchedule, "jitter"),
        ({"jitter_s": -1.0}, BadSchedule, "jitter"),
        ({"catch_up_max": 0}, BadSchedule, "caught up"),
        ({"zone": "Berlin"}, BadSchedule, "Europe/Berlin"),
        ({"name": " "}, BadSchedule, "name"),
        ({"name": "a\nb"}, BadSchedule, "name"),
        ({"at": datetime(2020, 1, 1)}, BadSchedule, "never comes"),
    ],
)
def test_what_is_wrong_is_found_when_it_is_made(
    viewer: Viewer, more: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make(viewer, **more)
    assert every(viewer) == []


def test_a_name_is_taken_once_and_there_is_a_bound(viewer: Viewer) -> None:
    make(viewer)
    with pytest.raises(BadSchedule, match="'nightly' already") as refused:
        make(viewer, name=" nightly ")
    assert refused.value.errors[0]["loc"] == ["name"]
    for n in range(4):
        make(viewer, name=f"n{n}")
    with pytest.raises(BadSchedule, match="There are 5 schedules"):
        make(viewer, name="one too many")


def test_a_schedule_that_has_ended_takes_no_place(viewer: Viewer, clockwork: Clockwork) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    ended = [make(viewer, name=f"n{n}", at=at, overlap=Overlap.ALLOW) for n in range(5)]
    with pytest.raises(BadSchedule, match="There are 5 schedules"):
        make(viewer, name="one more")
    fire(clockwork, ended[0].id)
    assert make(viewer, name="one more").name == "one more"
    with pytest.raises(BadSchedule, match="'n0' already"):
        make(viewer, name="n0")


def test_what_comes_in_a_pause_was_not_missed(viewer: Viewer, clockwork: Clockwork) -> None:
    row = make(viewer, catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
    fire(clockwork, row.id)
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        assert made.next_runs(schedules.pause(tx, row.id)) == []
    clockwork.pass_by(row.id, 10 * 3600)
    resumed = made.resume(viewer.desk.doors, viewer.tenant_id, row.id)
    assert resumed.next_tick_at == resumed.starts_at + timedelta(hours=12)
    assert clockwork.tick() == 0
    assert made.resume(viewer.desk.doors, viewer.tenant_id, row.id) == resumed
    fire(clockwork, row.id)
    assert clockwork.states(row.id) == [TickState.FIRED, TickState.FIRED]


# --- what a tick runs as --------------------------------------------------------------------------


def test_a_tick_runs_to_its_end_in_the_name_of_whoever_made_it(
    household: Household, clockwork: Clockwork
) -> None:
    row = make(household.viewer, Maker("ann", ("analyst",)), agent="chime", input={"n": 7})
    job = household.run(fire(clockwork, row.id))
    assert (job.status, job.output) == (JobStatus.COMPLETED, {"n": 7})
    assert (job.origin, job.requester, job.roles) == (Origin.SCHEDULE, "ann", ["analyst"])
    assert job.deadline_at is not None, "the deadline of its agent holds"
    household.viewer.check_history(job.id)


def test_a_schedule_follows_the_agent_as_workers_serve_it(
    household: Household, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make(household.viewer, agent="chime", input={"n": 7})
    with household.viewer.desk.doors.as_operator("test") as tx:
        old = {"version": "old", "steps": [], "deadline_s": None}
        tx.execute(schedules.schedules.update().values(begins=old))
    job = household.run(fire(clockwork, row.id))
    assert job.agent_version == household.viewer.desk.registry.find("chime").version
    assert job.status is JobStatus.COMPLETED
    assert clockwork.row(row.id).begins["version"] == job.agent_version


def test_with_nobody_to_serve_the_agent_a_tick_waits_as_any_job(
    viewer: Viewer, clockwork: Clockwork
) -> None:
    row = make(viewer, agent="chime", input={"n": 7})
    job = viewer.job(fire(clockwork, row.id))
    assert job.status is JobStatus.QUEUED
    hand_of(viewer).check_books(job.id)


# --- the tools ------------------------------------------------------------------------------------


def test_an_agent_makes_a_schedule_for_whoever_asked(household: Household) -> None:
    job = say(
        household,
        [("schedule", CALL)],
        origin=Origin.CHAT,
        requester="ann",
        roles=("analyst",),
        job_class=JobClass.BATCH,
    )
    (row,) = every(household.viewer)
    (said,) = told(household, job)
    assert (said["name"], said["schedule_id"]) == ("nightly", str(row.id))
    assert len(said["next_runs"]) == 5
    assert (row.agent, row.cron, row.zone) == ("clocked", "0 3 * * *", "Europe/Berlin")
    assert (row.requester, row.roles, row.origins_above) == ("ann", ["analyst"], ["chat"])
    assert row.job_class is JobClass.BATCH


def test_what_an_agent_asks_wrongly_it_is_told(household: Household) -> None:
    wrong = [
        (CALL | {"cron": "0 25 * * *"}, "bad hour"),
        (CALL | {"zone": "Berlin"}, "Europe/Berlin"),
        (CALL | {"agent": "elsewhere"}, "only clocked, chime"),
        ({"name": "fast", "input": {}, "every_s": 60}, "300 seconds"),
        (CALL | {"cron": "* * * * *"}, "300 seconds"),
        (CALL | {"cron": "0,1 0 1 1 *"}, "300 seconds"),
        (CALL | {"cron": "*/5 2-3 31 12 *", "input": {"turns": 7}}, "turns"),
    ]
    job = say(household, [("schedule", args) for args, _ in wrong])
    for said, (_, words) in zip(told(household, job), wrong, strict=True):
        assert words in str(said)
    assert every(household.viewer) == []


def test_a_call_whose_worker_died_makes_one_schedule(household: Household) -> None:
    viewer, hand = household.viewer, hand_of(household.viewer)
    job_id = viewer.submit("clocked", as_input([("schedule", CALL)]))
    household.run_step(job_id)
    worker_id = hand.start_worker()
    held = hand.take(job_id, 2, worker_id)
    hand.start_effect(held)
    clocked = household.house.registry.find("clocked")
    first = JobDiary(household.house, held, clocked).make(ScheduleWish(agent="clocked", **CALL))
    hand.lose(worker_id)
    (said,) = told(household, household.run(job_id))
    assert said == first
    assert [str(row.id) for row in every(viewer)] == [first["schedule_id"]]


def test_what_a_schedule_made_makes_no_schedules_nor_do_its_children(
    household: Household, clockwork: Clockwork
) -> None:
    calls = [("schedule", CALL), ("hand_on", {"script": as_input([("schedule", CALL)])})]
    row = make(household.viewer, input=as_input(calls))
    job = household.run(fire(clockwork, row.id))
    refused, handed_on = told(household, job)
    assert "is not available to this job" in str(refused)
    assert "is not available to this job" in str(handed_on)
    assert every(household.viewer) == [clockwork.row(row.id)]


def test_one_becomes_three_and_they_never_become_nine(
    household: Household, clockwork: Clockwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that asks for three more schedules in every job: 1, 3, 9, 27 if nobody stops it."""
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("TEST_LEDGER", str(ledger))
    asked = {"origin": Origin.CHAT, "requester": "ann"}
    root_id = household.viewer.submit("sprawling", {"name": "s"}, **asked)
    household.run_until_parked(root_id, SPRAWL)
    assert every(household.viewer) == [], "each waits for whoever asked"
    confirm_all(household, root_id)
    assert household.run(root_id).status is JobStatus.COMPLETED
    first = [row.id for row in every(household.viewer)]
    assert len(first) == SPRAWL

    for generation in range(1, 4):
        for schedule_id in first:
            job = household.run(fire(clockwork, schedule_id))
            refused = [e for e in household.viewer.events(job.id) if e.type == "call.refused"]
            assert [(e.data["tool"], e.data["code"]) for e in refused] == [
                ("schedule", "origin")
            ] * SPRAWL
            assert job.status is JobStatus.COMPLETED, "it was told, and went on without"
        assert [row.id for row in every(household.viewer)] == first
        assert clockwork.count_jobs() == 1 + SPRAWL * generation
    seen = ledger.read_text().splitlines()
    assert seen == ["offered schedule"] * 2 + ["offered "] * 2 * 3 * SPRAWL


def confirm_all(household: Household, job_id: UUID) -> None:
    viewer = household.viewer
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        for asked in approvals.list_pending(tx, job_id=job_id):
            which = asked.job_id, asked.seq, asked.n
            said = Said(Decision.APPROVE)
            approvals.decide(
                tx, viewer.tenant_id, which, asked.args_sha256, said, by="ann", roles=frozenset()
            )


def test_a_scheduled_job_moves_its_next_run_once(
    household: Household, clockwork: Clockwork
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=100)
    calls = [("reschedule_self", {"at": at.isoformat()})]
    again = [("reschedule_self", {"after_s": 60.0})]
    row = make(household.viewer, input=as_input(calls, again))
    job = household.run(fire(clockwork, row.id))
    moved, refused = told(household, job)
    assert moved == {"next_run": at.isoformat()}
    assert "once" in str(refused)
    after = clockwork.row(row.id)
    assert (after.next_tick_at, after.next_at) == (at, at)
    runs = made.next_runs(after)
    assert runs[0] == at
    assert runs[1] - at <= timedelta(hours=1), "the rhythm goes on from there"


def test_the_next_run_of_each_tick_may_be_moved(household: Household, clockwork: Clockwork) -> None:
    row = make(household.viewer, input=as_input([("reschedule_self", {"after_s": 7200.0})]))
    for _ in range(2):
        household.run(fire(clockwork, row.id))
        after = clockwork.row(row.id)
        assert after.next_tick_at is not None
        away_s = (after.next_tick_at - datetime.now(UTC)).total_seconds()
        assert 7100 < away_s <= 7200
        clockwork.pass_by(row.id, 3600)
        assert clockwork.tick() == 0


def test_who_always_moves_its_next_run_runs_no_more_often_than_the_rhythm(
    household: Household, clockwork: Clockwork
) -> None:
    row = make(household.viewer, input=as_input([("reschedule_self", {"after_s": 60.0})]))
    household.run(fire(clockwork, row.id))
    for n in range(2, 5):
        clockwork.pass_by(row.id, 61)
        clockwork.tick()
        job_ids = clockwork.job_ids(row.id)
        assert len(job_ids) == n
        if n < 4:
            household.run(job_ids[-1])
    after = clockwork.row(row.id)
    assert after.next_tick_at == after.starts_at + timedelta(hours=5), "each run has used up a tick"


def test_a_run_that_was_moved_twice_is_in_place_of_one_tick(
    household: Household, clockwork: Clockwork
) -> None:
    row = make(household.viewer, input=as_input([("reschedule_self", {"after_s": 9e6})]))
    household.run(fire(clockwork, row.id))
    with household.viewer.desk.doors.as_operator("test") as tx:
        sooner = as_input([("reschedule_self", {"after_s": 60.0})])
        tx.execute(schedules.schedules.update().values(input=sooner))
    by_hand = clockwork.run_now(row.id).job_id
    assert by_hand is not None
    household.run(by_hand)
    clockwork.pass_by(row.id, 61)
    clockwork.tick()
    after = clockwork.row(row.id)
    assert after.next_tick_at == after.starts_at + timedelta(hours=3)


def test_a_run_that_was_moved_outlasts_a_pause_and_stays_in_place_of_its_tick(
    household: Household, clockwork: Clockwork
) -> None:
    doors, tenant_id = household.viewer.desk.doors, household.viewer.tenant_id
    row = make(household.viewer, input=as_input([("reschedule_self", {"after_s": 60.0})]))
    household.run(fire(clockwork, row.id))
    moved = clockwork.row(row.id)
    with doors.as_tenant(tenant_id) as tx:
        schedules.pause(tx, row.id)
    assert made.resume(doors, tenant_id, row.id) == moved
    clockwork.pass_by(row.id, 61)
    clockwork.tick()
    with doors.as_tenant(tenant_id) as tx:
        schedules.pause(tx, row.id)
    resumed = made.resume(doors, tenant_id, row.id)
    assert resumed.next_tick_at == resumed.starts_at + timedelta(hours=3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"at": "2020-01-01T00:00:00Z"}, "has passed"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "days away"),
        ({}, "either at or after_s"),
        ({"after_s": -1.0}, "more than 0"),
    ],
)
def test_a_run_cannot_be_moved_to_nowhere(
    household: Household, clockwork: Clockwork, args: dict[str, Any], words: str
) -> None:
    row = make(household.viewer, input=as_input([("reschedule_self", args)]))
    job_id = fire(clockwork, row.id)
    before = clockwork.row(row.id)
    (said,) = told(household, household.run(job_id))
    assert words in str(said)
    assert clockwork.row(row.id) == before


def test_who_was_not_made_by_a_schedule_moves_none(
    household: Household, clockwork: Clockwork
) -> None:
    other = make(household.viewer)
    before = clockwork.row(other.id)
    (said,) = told(household, say(household, [("reschedule_self", {"after_s": 60.0})]))
    assert "No schedule has made this job" in str(said)
    assert clockwork.row(other.id) == before

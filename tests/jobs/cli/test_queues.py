"""`stepwell queues` and a refused `stepwell submit`: what a person and a script are told."""

from __future__ import annotations

import json

from sqlalchemy import text

from jobs.cli.queues import queues_page
from scheduler.census import take_census
from scheduler.settings import SchedulerSettings
from store.states import JobClass
from tests.jobs.cli.conftest import Run
from tests.jobs.printing import printed
from tests.jobs.serving import Served


def test_queues_show_what_waits_and_whether_anybody_counts(run: Run, served: Served) -> None:
    assert "no scheduler is at work" in run("queues").out
    served.hand.put_down(job_class=JobClass.BATCH)
    take_census(served.doors, SchedulerSettings())
    said = run("queues").out
    assert "level 0: normal" in said
    assert "no scheduler" not in said
    (batch,) = [line.split() for line in said.splitlines() if line.startswith("batch")]
    assert batch[1:4] == ["0", "1", "1"]


def test_queues_as_json_hold_lanes_classes_and_workers(run: Run) -> None:
    told = json.loads(run("queues", "--json").out)
    assert told["workers"] == []
    assert {lane["name"] for lane in told["lanes"]["data"]} >= {"stepwell.batch.waits"}
    assert len(told["lanes"]["classes"]) == 4


def test_a_level_and_refusals_are_told_in_words() -> None:
    found = {
        "level": 2,
        "level_since": "2030-01-01T00:00:00Z",
        "measured_s": 0.4,
        "data": [],
        "classes": [],
        "refusals": [{"class": "batch", "code": "deadline", "count": 3}],
    }
    said = printed(queues_page(found, []))
    assert "level 2: batch and background have their guaranteed share only" in said
    assert "3 submissions of yours refused within the last hour: 3 batch (deadline)" in said
    assert "No worker is alive" in said


def test_a_submission_for_which_there_is_no_room_exits_75(run: Run, served: Served) -> None:
    with served.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.tenants set waiting_max = 5"))
        tx.execute(text("update stepwell.load set measured_at = clock_timestamp()"))
        tx.execute(
            text(
                "insert into stepwell.tenant_census (tenant_id, job_class, waiting) "
                "values (:tenant, 'default', 5)"
            ),
            {"tenant": served.hand.tenant_id},
        )
    said = run("submit", "echo", "--input", "{}")
    assert said.code == 75
    assert said.out == ""
    assert "may have 5" in said.err
    assert "the same again in" in said.err

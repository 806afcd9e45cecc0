"""Schedules on the command line: made in one line, shown in the clocks of their zone."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from jobs.cli.schedule_tables import schedule_page
from store.tenants import DEFAULT_TENANT
from tests.jobs.cli.conftest import Run
from tests.jobs.printing import printed
from tests.jobs.serving import Served
from tests.ticking import Clockwork

NIGHTLY = ("nightly", "echo", "--cron", "30 3 * * *", "--zone", "Europe/Berlin", "--input", "{}")


def test_a_schedule_is_made_in_one_line(run: Run) -> None:
    said = run("schedule", "create", *NIGHTLY)
    assert said.code == 0, said.err
    assert UUID(said.out.strip())
    assert re.search(r"the first run is due \w{3} \d{4}-\d\d-\d\d 03:30 \+0[12]00", said.err)


def test_it_is_shown_with_its_next_runs_and_last_ticks(run: Run, served: Served) -> None:
    schedule_id = UUID(run("schedule", "create", *NIGHTLY).out.strip())
    clockwork = Clockwork(served.doors, DEFAULT_TENANT)
    clockwork.pass_by(schedule_id, 3 * 86_400)
    clockwork.tick()
    shown = run("schedule", "show", "nightly").out
    assert len(re.findall(r"^ +\w{3} \d{4}-\d\d-\d\d 03:30 \+0\d00 +(?:in |due)", shown, re.M)) == 5
    assert "✓ fired" in shown
    assert f"job {str(clockwork.job_ids(schedule_id)[0])[-8:]}" in shown
    assert "nothing ran when it came, with 1 tick before" in shown
    told = json.loads(run("schedule", "show", str(schedule_id), "--json").out)
    assert (told["name"], len(told["next_runs"]), len(told["ticks"])) == ("nightly", 5, 2)


def test_it_is_listed_paused_resumed_run_and_deleted(run: Run) -> None:
    assert "No schedules yet" in run("schedule", "list").err
    run("schedule", "create", *NIGHTLY)
    run("schedule", "create", "often", "echo", "--every", "15m", "--input", "{}", "--paused")
    listed = run("schedule", "list").out
    assert "30 3 * * *" in listed
    assert re.search(r"often +echo +every 15 min 0 s +UTC +paused +never", listed)
    assert "nightly is paused" in run("schedule", "pause", "nightly").err
    assert re.search(
        r"goes on; the next run is due .* 03:30", run("schedule", "resume", "nightly").err
    )
    ran = run("schedule", "run", "nightly")
    assert "stepwell watch" in ran.err
    assert json.loads(run("show", ran.out.strip(), "--json").out)["agent"] == "echo"
    refused = run("schedule", "run", "nightly")
    assert (refused.code, refused.out) == (2, "")
    assert "goes on" in refused.err
    assert "nightly is deleted" in run("schedule", "delete", "nightly").err
    names = [each["name"] for each in json.loads(run("schedule", "list", "--json").out)]
    assert names == ["often"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("x", "ecko", "--every", "1h", "--input", "{}"), "Did you mean 'echo'"),
        (("x", "echo", "--cron", "0 25 * * *", "--input", "{}"), "bad hour"),
        (("x", "echo", "--every", "1h", "--zone", "Berlin", "--input", "{}"), "'Europe/Berlin'"),
        (("x", "echo", "--every", "1.5s", "--input", "{}"), "whole seconds"),
        (("x", "echo", "--input", "{}"), "exactly one"),
        (("x", "echo", "--at", "yesterday", "--input", "{}"), "at"),
        (("x", "echo", "--every", "1h"), "nothing to do"),
        (("x", "writer", "--every", "1h", "--input", "{}"), "email"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    run: Run, words: tuple[str, ...], told: str
) -> None:
    said = run("schedule", "create", *words)
    assert said.code == 2
    assert told in said.err
    assert json.loads(run("schedule", "list", "--json").out) == []


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "run", "delete"])
def test_a_schedule_that_is_not_there_is_missed(run: Run, verb: str) -> None:
    said = run("schedule", verb, "nothing")
    assert said.code == 2
    assert "There is no schedule 'nothing'" in said.err


def test_a_page_tells_every_fate_of_a_tick(run: Run) -> None:
    run("schedule", "create", *NIGHTLY)
    found = json.loads(run("schedule", "show", "nightly", "--json").out)
    at = "2026-11-01T02:30:00Z"
    ticks = [
        {"tick_at": at, "state": state, "reason": reason, "missed": 0, "job_id": None}
        for state, reason in (
            ("waiting", None),
            ("skipped", "overlap"),
            ("skipped", "queue_full"),
            ("skipped", "something \x1b[31mnew"),
        )
    ]
    page = printed(schedule_page(found, ticks))
    assert "Sun 2026-11-01 03:30 +0100  … waiting" in page
    assert "the job before it went on" in page
    assert "too many waited before it" in page
    assert "\x1b" not in page

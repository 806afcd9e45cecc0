"""The verbs of the command line: what they print, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from store import artifacts
from store.states import JobStatus, StepState
from store.tenants import DEFAULT_TENANT
from store.transitions import Ending
from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.serving import Served, database_shut

NASTY = "a\x1b[31mred\x1b[0m [bold]b[/bold]"


def submit(run: Run, *more: str) -> str:
    said = run("submit", "echo", "--input", '{"ask": "hi"}', *more)
    assert said.code == 0, said.err
    return said.out.strip()


def complete(served: Served, job_id: str, **ending: Any) -> None:
    hand = served.hand
    held = hand.take(UUID(job_id), 1, hand.start_worker())
    hand.commit(held, **({"ending": Ending(JobStatus.COMPLETED, output={"a": NASTY})} | ending))


def fail(served: Served, job_id: str) -> None:
    error = {"class": "bug", "message": f"it broke {NASTY}", "hint": "mend it"}
    complete(
        served,
        job_id,
        state=StepState.FAILED,
        error=error,
        ending=Ending(JobStatus.FAILED, error=error, reason="bug"),
    )


def test_data_goes_to_standard_output_and_talk_to_standard_error(run: Run) -> None:
    said = run("submit", "echo", "--input", "{}")
    assert UUID(said.out.strip())
    assert "stepwell watch" in said.err


def test_submit_as_json_is_the_job(run: Run) -> None:
    said = run("submit", "echo", "--input", "{}", "--class", "batch", "--json")
    job = json.loads(said.out)
    assert (job["object"], job["class"]) == ("job", "batch")


def test_the_input_may_come_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"ask": "from a file"}')
    job = json.loads(run("submit", "echo", "--input", "@in.json", "--json").out)
    assert job["input"] == {"ask": "from a file"}


def test_the_same_key_asks_for_the_same_job(run: Run) -> None:
    first, again = (submit(run, "--idempotency-key", "k") for _ in range(2))
    assert first == again


@pytest.mark.parametrize("name", ["first", "last", "whole", "beginning", "ending"])
def test_a_job_is_named_by_either_end_of_its_id(run: Run, name: str) -> None:
    job_id = submit(run)
    typed = {
        "first": job_id[:6],
        "last": "last",
        "whole": job_id,
        "beginning": job_id.replace("-", "")[:14],
        "ending": "…" + job_id[-8:],
    }[name]
    assert json.loads(run("show", typed, "--json").out)["id"] == job_id


def test_a_name_of_several_jobs_is_refused_by_listing_them(run: Run) -> None:
    one, two = submit(run), submit(run)
    said = run("show", one[:6])
    assert said.code == 2
    assert one in said.err
    assert two in said.err


@pytest.mark.parametrize("typed", ["abc", "nothex!", "123456"])
def test_a_name_of_no_job_is_refused(run: Run, typed: str) -> None:
    said = run("show", typed)
    assert said.code == 2
    assert typed in said.err
    assert said.out == ""


def test_show_tells_the_steps_and_how_to_go_on(run: Run, served: Served) -> None:
    job_id = submit(run)
    complete(served, job_id, output={"rows": 3})
    said = run("show", job_id)
    assert said.code == 0
    for expected in (job_id, "completed", "step.echo.pass_on", "committed", "rows=3", "artifacts"):
        assert expected in said.out


def test_show_tells_an_error_with_its_hint(run: Run, served: Served) -> None:
    job_id = submit(run)
    fail(served, job_id)
    said = run("show", job_id)
    assert "it broke" in said.out
    assert "mend it" in said.out


def test_show_tells_how_often_steps_had_to_be_tried(run: Run, served: Served) -> None:
    job_id = submit(run)
    for _ in range(2):
        served.hand.release(served.hand.take(UUID(job_id)))
    assert "2.00 for each step" in run("show", job_id).out


def test_show_as_json_has_the_steps(run: Run, served: Served) -> None:
    job_id = submit(run)
    told = json.loads(run("show", job_id, "--json").out)
    assert [step["name"] for step in told["steps"]] == ["step.echo.pass_on"]


def test_nothing_foreign_steers_the_terminal(run: Run, served: Served) -> None:
    job_id = json.loads(run("submit", "echo", "--input", json.dumps({"ask": NASTY}), "--json").out)[
        "id"
    ]
    complete(served, job_id, output=NASTY)
    for command in (("show", job_id), ("jobs",), ("watch", job_id)):
        said = run(*command)
        assert "\x1b" not in said.out + said.err
        assert "[bold]b[/bold]" in said.out or command[0] == "watch"


def test_watch_tells_the_story_and_exits_by_its_ending(run: Run, served: Served) -> None:
    good, bad = submit(run), submit(run)
    complete(served, good)
    fail(served, bad)
    fine, failed = run("watch", good), run("watch", bad)
    assert (fine.code, failed.code) == (0, 1)
    assert "completed in" in fine.err
    assert fine.out == ""
    assert "it broke" in failed.err
    assert "mend it" in failed.err


def test_watch_as_json_is_one_event_a_line(run: Run, served: Served) -> None:
    job_id = submit(run)
    complete(served, job_id)
    events = [json.loads(line) for line in run("watch", job_id, "--json").out.splitlines()]
    assert [event["id"] for event in events] == [1, 2, 3, 4, 5, None]
    assert events[-1]["type"] == "done"


def test_jobs_lists_the_newest_first(run: Run) -> None:
    one, two = submit(run), submit(run)
    run("cancel", one)
    assert [job["id"] for job in json.loads(run("jobs", "--json").out)] == [two, one]
    listed = json.loads(run("jobs", "--status", "cancelled", "--json").out)
    assert [job["id"] for job in listed] == [one]
    table = run("jobs", "--limit", "1").out
    assert two[-8:] in table
    assert one[-8:] not in table


def test_jobs_of_an_unknown_status_is_wrong_usage(run: Run) -> None:
    assert run("jobs", "--status", "done").code == 2


def test_cancel_says_what_came_of_it(run: Run) -> None:
    job_id = submit(run)
    assert json.loads(run("cancel", job_id, "--json").out)["status"] == "cancelled"
    assert "has ended" in run("cancel", job_id).err


def test_artifacts_are_listed_and_saved_under_harmless_names(
    run: Run, served: Served, tmp_path: Path
) -> None:
    job_id = submit(run)
    names = ["c1.png", "../../evil.sh", "C1.PNG"]
    with served.doors.as_tenant(DEFAULT_TENANT) as tx:
        for name in names:
            artifacts.save(
                tx,
                tenant_id=DEFAULT_TENANT,
                job_id=UUID(job_id),
                seq=1,
                name=name,
                media_type="image/png",
                chunks=[name.encode()],
                size_max_bytes=100,
            )
    assert {a["name"] for a in json.loads(run("artifacts", job_id, "--json").out)} == set(names)
    said = run("artifacts", job_id, "--save", "out")
    saved = sorted((tmp_path / "out").iterdir())
    assert said.code == 0
    assert len(saved) == 3, "two names that differ by case are two files everywhere"
    assert {path.read_text() for path in saved} == set(names)
    assert not (tmp_path / "evil.sh").exists()
    assert all(str(path.name) in said.err for path in saved)


def test_saving_into_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    job_id = submit(run)
    (tmp_path / "out").touch()
    assert run("artifacts", job_id, "--save", "out").code == 2


def test_agents_tell_what_they_take(run: Run) -> None:
    said = run("agents", "analyst")
    assert "dataset" in said.out
    assert "run_sql" in said.out
    names = [agent["name"] for agent in json.loads(run("agents", "--json").out)]
    assert names == ["analyst", "echo", "writer"]
    assert "Did you mean 'echo'" in run("agents", "ecko").err


def test_queues_tell_lanes_and_workers(run: Run, served: Served) -> None:
    assert "No worker is alive" in run("queues").out
    served.hand.start_worker(slots=7)
    told = json.loads(run("queues", "--json").out)
    assert [worker["slots"] for worker in told["workers"]] == [7]
    assert "by hand" in run("queues").out


def test_version_is_said(nowhere: Run) -> None:
    assert json.loads(nowhere("version", "--json").out)["stepwell"]


def test_a_command_nobody_knows_is_wrong_usage(nowhere: Run) -> None:
    assert nowhere("frobnicate").code == 2


def test_a_database_that_is_down_is_a_platform_that_cannot_be_reached(
    run: Run, database: Database
) -> None:
    with database_shut(database):
        said = run("jobs")
    assert said.code == 3
    assert "database" in said.err

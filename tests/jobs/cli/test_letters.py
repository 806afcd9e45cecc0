"""Dead letters and forks on the command line: looked at, replayed, discarded, and gone back to."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from jobs.cli import letters
from store.states import StepState
from tests.jobs.cli.conftest import Run
from tests.jobs.cli.test_commands import NASTY
from tests.jobs.parking import ERROR, advance, bear, died, submit, take
from tests.jobs.serving import Served

BUG = {"class": "bug", "message": f"it broke {NASTY}", "hint": "mend it", "dependency": "crm"}


def state_of(run: Run, job_id: UUID) -> str:
    return str(json.loads(run("dead-letters", "show", job_id, "--json").out)["state"])


def test_no_letters_are_said_as_such(run: Run) -> None:
    said = run("dead-letters")
    assert (said.code, said.out) == (0, "")
    assert "No dead letters" in said.err


def test_letters_are_listed_newest_first_and_filtered(run: Run, served: Served) -> None:
    mail, bug = died(served), died(served, BUG)
    lines = run("dead-letters").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [str(bug)[-8:], str(mail)[-8:]]
    assert ERROR["message"] in lines[1]
    listed = json.loads(run("dead-letters", "--json").out)
    print_of_bug = listed[0]["fingerprint"]
    for words in (
        ("--class", "bug"),
        ("--fingerprint", print_of_bug),
        ("--dependency", "crm"),
        ("--agent", "echo", "--limit", 1),
    ):
        found = json.loads(run("dead-letters", *words, "--json").out)
        assert [each["job_id"] for each in found] == [str(bug)], words
    assert json.loads(run("dead-letters", "--state", "discarded", "--json").out) == []
    assert run("dead-letters", "--state", "dead").code == 2


def test_a_letter_is_shown_with_its_reason_and_the_ways_on(run: Run, served: Served) -> None:
    job_id = died(served)
    for typed in (job_id, str(job_id)[-8:], "last"):
        said = run("dead-letters", "show", typed)
        for expected in (*ERROR.values(), str(job_id), "step 2", "step.echo.next", "replay"):
            assert expected in said.out, (typed, expected)


def test_nothing_in_a_letter_steers_the_terminal(run: Run, served: Served) -> None:
    job_id = died(served, {**BUG, "class": NASTY, "hint": NASTY})
    for words in (("dead-letters",), ("dead-letters", "show", job_id)):
        said = run(*words)
        assert "\x1b" not in said.out
        assert "[bold]b[/bold]" in said.out


def test_a_replay_prints_the_new_job_and_closes_the_letter(run: Run, served: Served) -> None:
    job_id = died(served)
    said = run("dead-letters", "replay", job_id)
    made = UUID(said.out.strip())
    assert "goes on from step 2" in said.err
    assert served.hand.job(made).job_class == "background"
    assert served.hand.states(made) == [StepState.COMMITTED, StepState.READY]
    assert state_of(run, job_id) == "replayed"
    assert str(made) in run("dead-letters", "show", job_id).out
    again = run("dead-letters", "replay", job_id)
    assert again.code == 2
    assert str(made) in again.err


def test_a_replay_may_be_urgent(run: Run, served: Served) -> None:
    job_id = died(served)
    wrong = run("dead-letters", "replay", job_id, "--class", "not_sent")
    assert wrong.code == 2
    assert "--all" in wrong.err
    made = json.loads(run("dead-letters", "replay", job_id, "--class", "interactive", "--json").out)
    assert made["class"] == "interactive"


def test_a_letter_is_discarded(run: Run, served: Served) -> None:
    job_id = died(served)
    assert "discarded" in run("dead-letters", "discard", job_id).err
    assert state_of(run, job_id) == "discarded"
    assert run("dead-letters", "replay", job_id).code == 2


def test_all_are_replayed_when_one_is_sure(run: Run, served: Served) -> None:
    mail, bug = [died(served) for _ in range(2)], died(served, BUG)
    said = run("dead-letters", "replay", "--all", "--class", "not_sent", "--yes")
    assert (said.code, said.out) == (0, "")
    assert "2 dead letters lined up" in said.err
    assert [state_of(run, each) for each in (*mail, bug)] == ["replaying", "replaying", "open"]
    told = json.loads(run("dead-letters", "replay", "--all", "--yes", "--json").out)
    assert told["planned"] == 1
    nothing = run("dead-letters", "replay", "--all", "--yes")
    assert nothing.code == 0
    assert "nothing to do" in nothing.err


def test_nobody_there_to_say_yes_is_a_no(run: Run, served: Served) -> None:
    job_id = died(served)
    said = run("dead-letters", "replay", "--all")
    assert said.code == 2
    assert "Replay 1 job, 5 each second?" in said.err
    assert "--yes" in said.err
    assert state_of(run, job_id) == "open"


@pytest.mark.parametrize(("says", "state"), [(True, "replaying"), (False, "open")])
def test_somebody_there_is_shown_what_it_would_be_and_asked(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch, says: bool, state: str
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return says

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(letters.typer, "confirm", confirm)
    job_id = died(served)
    said = run("dead-letters", "replay", "--all", "--per-second", "0.5")
    assert asked == ["Replay 1 job, 0.5 each second?"]
    assert "not_sent" in said.err
    assert said.code == (0 if says else 2)
    assert state_of(run, job_id) == state


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("last", "--all"),
        ("last", "--agent", "echo"),
        ("last", "--fingerprint", "0"),
        ("last", "--dependency", "crm"),
        ("--all", "--per-second", "0"),
        ("--all", "--per-second", "1000"),
        ("--all", "--yes", "--agent", "nobody"),
    ],
)
def test_a_replay_that_makes_no_sense_changes_nothing(
    run: Run, served: Served, words: tuple[str, ...]
) -> None:
    job_id = died(served)
    assert run("dead-letters", "replay", *words).code == 2
    assert state_of(run, job_id) == "open"


def test_a_letter_nobody_has_is_refused(run: Run, served: Served) -> None:
    assert run("dead-letters", "show", "last").code == 2
    alive = submit(served)
    for words in (("show", alive), ("discard", alive), ("replay", alive)):
        said = run("dead-letters", *words)
        assert said.code == 2
        assert "dead letter" in said.err


def test_a_failed_job_tells_of_its_replay(run: Run, served: Served) -> None:
    job_id = died(served)
    hint = f"stepwell dead-letters replay {str(job_id)[-8:]}"
    assert hint in run("show", job_id).out
    assert hint in run("watch", job_id).err


def test_a_fork_prints_the_new_job_and_shows_where_it_comes_from(run: Run, served: Served) -> None:
    job_id = submit(served)
    advance(served, job_id, 1)
    said = run("fork", job_id, "--from", 2, "--input", '{"say": "bye"}', "--class", "batch")
    made = UUID(said.out.strip())
    assert "step 1 is shared" in said.err
    row = served.hand.job(made)
    assert (row.input, row.job_class, row.forked_from) == ({"say": "bye"}, "batch", job_id)
    shown = " ".join(run("show", made).out.split())
    assert f"from job {job_id}, on its own from step 2 on" in shown
    run("cancel", made)
    assert f"shares what job {str(job_id)[-8:]} did" in run("watch", made).err


def test_a_fork_from_a_file_and_as_json(run: Run, served: Served, tmp_path: Any) -> None:
    (tmp_path / "in.json").write_text('{"say": "file"}')
    job_id = submit(served)
    made = json.loads(run("fork", job_id, "--from", 1, "--input", "@in.json", "--json").out)
    assert (made["input"], made["forked_from_seq"]) == ({"say": "file"}, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2"), "no step 2"),
        (("--from", "0"), "--from"),
        ((), "--from"),
        (("--from", "1", "--input", "[]"), "not an object"),
        (("--from", "1", "--input", "{"), "not JSON"),
        (("--from", "1", "--input", '{"n": NaN}'), "not finite"),
    ],
)
def test_a_fork_that_makes_no_sense_makes_nothing(
    run: Run, served: Served, words: tuple[str, ...], said: str
) -> None:
    job_id = submit(served)
    told = run("fork", job_id, *words)
    assert told.code == 2
    assert said in told.err
    assert served.row_counts()["jobs"] == 1


def test_show_tells_parent_and_children(run: Run, served: Served) -> None:
    job_id = submit(served)
    child = UUID("0192aaaa-0000-7000-8000-0000deadbeef")
    bear(served, take(served, job_id), child)
    parent_page = run("show", job_id).out
    assert "jobs it asked for" in parent_page
    assert "deadbeef" in parent_page
    assert "waits for its children" in parent_page
    assert f"a step of job {job_id}" in run("show", child).out
    assert [each["id"] for each in json.loads(run("show", job_id, "--json").out)["child_jobs"]] == [
        str(child)
    ]


@pytest.mark.parametrize(
    ("said", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800)]
)
def test_a_deadline_is_said_as_people_say_it(
    run: Run, served: Served, said: str, seconds: float
) -> None:
    submitted = run("submit", "echo", "--input", "{}", "--deadline", said)
    row = served.hand.job(UUID(submitted.out.strip()))
    assert row.deadline_at is not None
    assert (row.deadline_at - row.created_at).total_seconds() == pytest.approx(seconds)
    assert "deadline" in run("show", row.id).out


@pytest.mark.parametrize("said", ["soon", "30", "", "-5m", "0m", "5m later", "1.h", "500d"])
def test_a_deadline_that_is_none_creates_nothing(run: Run, served: Served, said: str) -> None:
    assert run("submit", "echo", "--input", "{}", f"--deadline={said}").code == 2
    assert served.row_counts()["jobs"] == 0

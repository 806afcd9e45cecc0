"""Questions on the command line: shown so that one can decide, answered once, never by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from jobs.cli.waiting import args_text, question_block, questions_page
from store.states import StepKind, StepState, Work
from store.transitions import Plan, Wait
from tests.jobs.cli.conftest import Run
from tests.jobs.cli.test_commands import NASTY
from tests.jobs.parking import (
    FREE,
    QUESTION,
    RECONCILE,
    REVIEW,
    SIGNAL,
    TIMER,
    advance,
    begin_effect,
    park,
    parked,
    submit,
    take,
)
from tests.jobs.printing import printed
from tests.jobs.serving import Served
from tests.stepping import COMPLETED


def test_nothing_asked_is_said_as_such(run: Run, served: Served) -> None:
    parked(served, TIMER)
    said = run("questions")
    assert (said.code, said.out) == (0, "")
    assert "Nothing is asked" in said.err
    assert json.loads(run("questions", "--json").out) == []


def test_a_question_is_shown_with_all_one_decides_it_by(run: Run, served: Served) -> None:
    job_id = parked(served, RECONCILE)
    said = run("questions")
    for expected in (
        str(job_id),
        "Did this call happen?",
        "The worker was lost in the middle of it.",
        "refund",
        '"order_id": 1042',
        '"amount_usd": 120.0',
        "the-key",
        f"stepwell answer {str(job_id)[-8:]} --happened --result JSON",
        "--again",
        "--fail",
    ):
        assert expected in said.out, expected
    assert "--continue" not in said.out


def test_choices_are_shown_as_the_commands_that_choose_them(run: Run, served: Served) -> None:
    name = str(parked(served, QUESTION))[-8:]
    said = run("questions", name)
    assert f"stepwell answer {name} left" in said.out
    assert f"stepwell answer {name} right" in said.out


def test_many_questions_are_told_in_a_line_each(run: Run, served: Served) -> None:
    ids = [str(parked(served, RECONCILE))[-8:] for _ in range(6)]
    lines = run("questions").out.splitlines()
    assert len(lines) == 7
    assert [line.split()[0] for line in lines[1:]] == ids
    assert all("order_id=1042" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("wait", "words", "kept"),
    [
        (FREE, ["Alice"], "Alice"),
        (FREE, ["--result", '{"name": "é", "n": [1]}'], {"name": "é", "n": [1]}),
        (FREE, ["--result", "null"], None),
        (QUESTION, ["left"], "left"),
        (QUESTION, ["RIGHT"], "right"),
        (
            RECONCILE,
            ["--happened", "--result", '{"id": 7}'],
            {"decision": "happened", "result": {"id": 7}},
        ),
        (
            RECONCILE,
            ["--happened", "--result", "null"],
            {"decision": "happened", "result": None},
        ),
        (RECONCILE, ["--again"], {"decision": "again", "result": None}),
        (RECONCILE, ["--fail"], {"decision": "fail", "result": None}),
        (REVIEW, ["--continue"], {"decision": "continue", "result": None}),
        (REVIEW, ["--fail"], {"decision": "fail", "result": None}),
    ],
)
def test_an_answer_reaches_the_step(
    run: Run, served: Served, wait: Wait, words: Sequence[str], kept: Any
) -> None:
    job_id = parked(served, wait)
    said = run("answer", job_id, *words)
    assert said.code == 0, said.err
    assert said.out == ""
    assert str((wait.prompt or {})["ask"]) in said.err, "it says what was answered"
    assert ("is given up" if "--fail" in words else "goes on") in said.err
    woken = take(served, job_id).woken
    assert woken is not None
    assert woken.result == kept


def test_an_answer_as_json_is_the_question_as_closed(run: Run, served: Served) -> None:
    job_id = parked(served, FREE)
    closed = json.loads(run("answer", job_id, "Alice", "--json").out)
    assert (closed["state"], closed["result"]) == ("answered", "Alice")


def test_a_result_may_come_from_a_file(run: Run, served: Served, tmp_path: Any) -> None:
    (tmp_path / "result.json").write_text('{"id": 7}')
    job_id = parked(served, RECONCILE)
    assert run("answer", job_id, "--happened", "--result", "@result.json").code == 0


@pytest.mark.parametrize(
    ("wait", "words", "said"),
    [
        (QUESTION, [], "Say what to answer"),
        (QUESTION, ["up"], "one of"),
        (QUESTION, ["--again"], "--again is no answer to that"),
        (QUESTION, ["left", "--result", "1"], "either"),
        (FREE, ["--result", "{"], "not JSON"),
        (FREE, ["--result", "NaN"], "not finite"),
        (FREE, ["--result", "@nowhere.json"], "cannot be read"),
        (FREE, ["a\udcff"], "not UTF-8"),
        (RECONCILE, [], "Say what to answer"),
        (RECONCILE, ["yes"], "has to be decided"),
        (RECONCILE, ["--result", "1"], "has to be decided"),
        (RECONCILE, ["--happened"], "which result"),
        (RECONCILE, ["--again", "--result", "1"], "--happened only"),
        (RECONCILE, ["--continue"], "--continue is no answer to that"),
        (RECONCILE, ["--again", "--fail"], "exclude each other"),
        (RECONCILE, ["yes", "--again"], "either"),
        (REVIEW, ["--happened", "--result", "1"], "--happened is no answer to that"),
    ],
)
def test_what_is_no_answer_changes_nothing_and_exits_2(
    run: Run, served: Served, wait: Wait, words: Sequence[str], said: str
) -> None:
    job_id = parked(served, wait)
    told = run("answer", job_id, *words)
    assert told.code == 2
    assert said in told.err
    assert served.hand.states(job_id) == [StepState.WAITING]


def test_a_job_that_asks_nothing_is_not_answered(run: Run, served: Served) -> None:
    job_id = parked(served, TIMER)
    told = run("answer", job_id, "yes")
    assert told.code == 2
    assert "asks nothing" in told.err


def test_of_several_questions_one_has_to_be_named(run: Run, served: Served) -> None:
    job_id = submit(served)
    call = Plan(StepKind.TOOL, "tool.ask", Work.WAITS, {"tool": "ask", "call_id": "c", "args": {}})
    advance(served, job_id, 1, call, call)
    for seq in (2, 3):
        park(served, take(served, job_id, seq), FREE)
    unclear = run("answer", job_id, "Alice")
    assert unclear.code == 2
    assert "--step 2, 3" in unclear.err
    assert unclear.err.count("What shall it be called?") == 2, "all of them are shown"
    assert "--step 2" in run("questions", job_id).out
    assert run("answer", job_id, "Alice", "--step", 3).code == 0
    states = served.hand.states(job_id)
    assert states[1:] == [StepState.WAITING, StepState.READY]
    wrong = run("answer", job_id, "Alice", "--step", 3)
    assert wrong.code == 2
    assert "--step 2 does" in wrong.err
    assert run("answer", job_id, "Bob").code == 0, "one is left, so it is meant"


def test_a_question_answered_meanwhile_is_not_answered_again(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = parked(served, FREE)
    with served.client as client:
        shown = client.questions(str(job_id))
        client.answer(str(job_id), 1, 1, "first")
    monkeypatch.setattr("jobs.client.Client.questions", lambda *_: shown)
    late = run("answer", job_id, "second")
    assert late.code == 2
    assert "answered before" in late.err


def test_nothing_in_a_question_steers_the_terminal(run: Run, served: Served) -> None:
    prompt = {
        "ask": NASTY,
        "reason": NASTY,
        "tool": NASTY,
        "args": {NASTY: NASTY},
        "key": NASTY,
        "choices": [NASTY],
        "started_at": NASTY,
        "version": NASTY,
    }
    job_id = parked(served, Wait(RECONCILE.kind, NASTY, prompt=prompt))
    for command in (("questions",), ("show", job_id), ("jobs",), ("answer", job_id)):
        said = run(*command)
        assert "\x1b" not in said.out + said.err
        assert said.code in (0, 2)
    assert "[bold]b[/bold]" in run("questions").out


def test_what_cannot_be_seen_in_an_argument_is_written_out() -> None:
    assert args_text({"to": "a\u202eb\u200bc"}) == '{\n  "to": "a\\u202eb\\u200bc"\n}'
    assert "é" in args_text("é")
    many = args_text(list(range(100)))
    assert many.count("\n") == 40
    assert "more lines" in many


@pytest.mark.parametrize("prompt", [None, {}, {"ask": "?"}, {"args": [1], "tool": "x"}])
def test_a_prompt_with_little_in_it_is_shown_all_the_same(prompt: Any) -> None:
    question = {
        "job_id": "00000000-0000-4000-8000-0000deadbeef",
        "agent": "a",
        "seq": 3,
        "n": 1,
        "kind": "reconcile",
        "name": "x",
        "prompt": prompt,
        "decisions": ["again"],
        "created_at": "2026-01-01T00:00:00+00:00",
        "until": None,
        "state": "pending",
    }
    assert "--again" in printed(question_block(question, names_step=False))
    assert "deadbeef" in printed(questions_page([question] * 9))


def test_a_signal_is_sent_with_its_data_once(run: Run, served: Served) -> None:
    job_id = parked(served, SIGNAL)
    said = run("signal", job_id, "paid", "--data", '{"usd": 120}', "--key", "k")
    assert (said.code, said.out) == (0, "")
    again = json.loads(run("signal", job_id, "paid", "--key", "k", "--json").out)
    assert again["status"] == "duplicate"
    woken = take(served, job_id).woken
    assert woken is not None
    assert woken.result == {"usd": 120}


def test_a_signal_that_is_waited_for_is_shown_with_its_command(run: Run, served: Served) -> None:
    job_id = parked(served, SIGNAL)
    command = f"stepwell signal {str(job_id)[-8:]} paid"
    assert command in run("show", job_id).out
    run("signal", job_id, "paid")
    assert command not in run("show", job_id).out


def test_a_story_tells_how_to_end_only_what_is_still_waited_for(run: Run, served: Served) -> None:
    job_id = parked(served, SIGNAL)
    run("signal", job_id, "paid", "--data", "1")
    park(served, take(served, job_id), QUESTION)
    run("answer", job_id, "left")
    served.hand.commit(take(served, job_id), ending=COMPLETED)
    said = run("watch", job_id)
    assert said.code == 0
    for expected in (
        "waits for the signal 'paid'",
        "the signal 'paid' has come; it goes on",
        "asks a question",
        "it was answered; it goes on",
    ):
        assert expected in said.err
    assert "to send it" not in said.err
    assert "stepwell answer" not in said.err


def test_a_signal_that_cannot_arrive_is_refused(run: Run, served: Served) -> None:
    job_id = submit(served)
    assert run("signal", job_id, "paid", "--data", "{").code == 2
    assert run("signal", job_id, "a\nb").code == 2
    run("cancel", job_id)
    late = run("signal", job_id, "paid")
    assert late.code == 2
    assert "has ended" in late.err


def test_show_tells_what_is_asked_and_what_was_waited_for(run: Run, served: Served) -> None:
    job_id = parked(served, SIGNAL)
    run("signal", job_id, "paid", "--data", '"cash"')
    park(served, take(served, job_id), RECONCILE)
    said = run("show", job_id)
    assert said.code == 0
    for expected in (
        "input_required, waits for a decision",
        "waits for the signal 'paid'",
        "answered",
        "cash",
        "asks whether a call happened",
        "pending",
        "Did this call happen?",
        "--happened",
    ):
        assert expected in said.out, expected
    told = json.loads(run("show", job_id, "--json").out)
    assert [(w["n"], w["state"]) for w in told["waits"]] == [(1, "answered"), (2, "pending")]


def test_show_tells_of_an_effect_that_was_begun(run: Run, served: Served) -> None:
    job_id = submit(served)
    begin_effect(served, take(served, job_id))
    assert "its effect was begun" in run("show", job_id).out


def test_jobs_tell_what_is_waited_for_and_how_long(run: Run, served: Served) -> None:
    parked(served, TIMER)
    assert re.search(r"its time, (1 h 59|2 h 0) min left", run("jobs").out)
    parked(served, SIGNAL)
    parked(served, QUESTION)
    listed = run("jobs").out
    assert re.search(r"a signal, (59 min|1 h 0 min) left", listed)
    assert "an answer" in listed

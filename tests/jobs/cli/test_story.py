"""A job's events as a story: sentences for what happened, and what is happening now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from jobs.cli.digest import came_out, went_in
from jobs.cli.speech import gist, one_line, plain, size, span
from jobs.cli.story import Story
from jobs.cli.watching import Now

AT = "2026-01-01T00:00:00+00:00"


def event(kind: str, number: int = 1, at: str = AT, **data: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "data": data, "at": at}


def told(*events: dict[str, Any]) -> tuple[Story, list[str]]:
    story = Story()
    sentences = [story.hear(each) for each in events]
    return story, [sentence for sentence in sentences if sentence is not None]


def test_a_step_is_told_when_it_is_done() -> None:
    story, sentences = told(
        event("step.started", seq=1, name="tool.x", attempt=1),
        event("step.completed", seq=1, name="tool.x", ms=250.0, outcome="success"),
    )
    assert sentences == ["✓   1  tool.x  250 ms"]
    assert story.running == []
    assert story.settled_count == 1


def test_what_guards_said_of_a_step_is_told_with_it() -> None:
    said = [
        {"stage": "tool.result", "guard": "secrets", "verdict": "replace", "reason": "x"},
        {"stage": "tool.args", "guard": "links", "verdict": "replace"},
        {"stage": "tool.args", "guard": "links", "verdict": "replace"},
    ]
    _, sentences = told(event("step.completed", seq=2, name="tool.x", ms=250.0, guards=said))
    assert sentences == ["✓   2  tool.x  250 ms  guards: secrets replace, links replace"]


def test_a_step_nobody_saw_start_is_told_all_the_same() -> None:
    _, sentences = told(event("step.completed", seq=2, name="step.p.two", ms=1500.0))
    assert sentences == ["✓   2  step.p.two  1.5 s"]


def test_a_tool_that_said_no_is_not_told_as_a_success() -> None:
    _, sentences = told(event("step.completed", seq=1, name="tool.x", ms=1.0, outcome="failed"))
    assert sentences[0].startswith("!")


def test_a_retry_is_told_with_its_cause_and_its_moment() -> None:
    until = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    story, sentences = told(
        event("step.started", seq=1, name="tool.mail", attempt=1),
        event(
            "step.retry_scheduled",
            seq=1,
            name="tool.mail",
            attempt=1,
            until=until,
            error={"class": "not_sent", "message": "no mail server"},
        ),
    )
    assert "no mail server" in sentences[-1]
    assert "tried again in" in sentences[-1]
    assert [step.state for step in story.running] == ["waiting"]


def test_progress_is_shown_where_the_step_is() -> None:
    story, sentences = told(
        event("step.started", seq=1, name="tool.x"),
        event("job.progress", seq=1, message="half\x1b[31m way", done=0.5),
    )
    assert sentences == []
    (step,) = story.running
    assert (step.message, step.done) == ("half�[31m way", 0.5)


WAITS = {
    "timer": ("sleep", "…", "sleeps", "its time has come"),
    "signal": ("paid", "…", "waits for the signal 'paid'", "the signal 'paid' has come"),
    "children": ("children", "…", "waits for the jobs it asked for", "asked for are over"),
    "question": ("question", "?", "asks a question", "it was answered"),
    "reconcile": ("tool.x", "?", "asks whether a call happened", "it was decided"),
    "review": ("agent_changed", "?", "asks whether to go on", "it was decided"),
    "approval": ("refund", "?", "waits for a yes to 'refund'", "its call was decided"),
}


@pytest.mark.parametrize("kind", WAITS)
def test_a_step_that_waits_is_told_at_both_ends(kind: str) -> None:
    what, sign, waiting, woken = WAITS[kind]
    until = (datetime.now(UTC) + timedelta(minutes=90)).isoformat()
    seen = {"seq": 2, "name": "tool.x", "for": kind, "what": what}
    story, sentences = told(
        event("step.started", seq=2, name="tool.x"),
        event("step.waiting", **seen, until=until),
    )
    assert sentences[0].startswith(f"{sign}   2  tool.x  {waiting}, 1 h ")
    assert story.is_parked
    assert [step.state for step in story.running] == ["parked"]
    sentences = [story.hear(event("step.woken", **seen, how="answered")) or ""]
    assert woken in sentences[0]
    assert not story.is_parked
    assert story.hear(event("step.started", seq=2, name="tool.x", attempt=1)) is None
    assert [step.state for step in story.running] == ["running"]


def test_a_wait_that_expired_is_told_as_such() -> None:
    _, sentences = told(
        event("step.woken", seq=1, name="t", **{"for": "signal", "what": "paid", "how": "expired"})
    )
    assert sentences == ["•   1  t  nothing came in time; it goes on"]


def test_a_job_is_parked_only_when_all_it_does_is_wait() -> None:
    story, _ = told(
        event("step.started", seq=1, name="a"),
        event("step.started", seq=2, name="b"),
        event("step.waiting", seq=2, name="b", **{"for": "timer", "what": "sleep"}),
    )
    assert not story.is_parked
    story.hear(event("step.completed", seq=1, name="a", ms=1.0))
    assert story.is_parked


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "• accepted"),
        (
            {"forked_from": "0192aaaa-0000-7000-8000-0000deadbeef", "from_step": 7},
            "• accepted; shares what job deadbeef did, and goes on at step 7",
        ),
        (
            {"parent": "0192aaaa-0000-7000-8000-0000deadbeef"},
            "• accepted, asked for by job deadbeef",
        ),
    ],
)
def test_where_a_job_comes_from_is_told(data: dict[str, Any], words: str) -> None:
    assert told(event("job.queued", **data))[1] == [words]


def test_a_job_that_expired_is_told_by_whoever_watched_it() -> None:
    story, sentences = told(event("job.expired"))
    assert (story.status, sentences) == ("expired", [])


@pytest.mark.parametrize("kind", ["job.reborn", "weather.changed", "step.paused"])
def test_an_event_of_a_later_version_is_told_by_its_name(kind: str) -> None:
    _, sentences = told(event(kind, why="because"))
    assert kind.partition(".")[2].replace("_", " ") in sentences[0]


@pytest.mark.parametrize(
    "data", [{}, {"seq": 1}, {"error": None}, {"error": "words"}, {"seq": 1, "error": {}}]
)
@pytest.mark.parametrize(
    "kind",
    [
        "step.started",
        "step.completed",
        "step.failed",
        "step.retry_scheduled",
        "step.waiting",
        "step.woken",
        "job.progress",
        "job.queued",
        "job.expired",
    ],
)
def test_an_event_with_little_in_it_stops_no_story(kind: str, data: dict[str, Any]) -> None:
    told(event(kind, **data))


def test_many_steps_at_once_stay_within_the_screen() -> None:
    story, _ = told(*(event("step.started", seq=n, name="tool.x") for n in range(50)))
    console = Console(width=60, record=True)
    console.print(Now(story))
    lines = console.export_text().splitlines()
    assert len(lines) <= 10
    assert any("42 more" in line for line in lines)
    assert all(len(line) <= 60 for line in lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0004, "0 ms"),
        (0.9996, "1.0 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3 * 3600 + 599, "3 h 9 min"),
        (60 * 3600, "2 d"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (8_300_000, "8.3 MB"), (5 * 10**9, "5.0 GB")],
)
def test_sizes_are_said_as_people_say_them(size_bytes: int, words: str) -> None:
    assert size(size_bytes) == words


def test_a_value_is_told_by_its_title_first_and_long_texts_last() -> None:
    value = {"sql": "select " + "x" * 99, "n": 3, "title": "Late carriers", "none": None}
    assert gist(value, 40).startswith("title=Late carriers n=3 sql=select")
    assert len(gist(value, 40)) == 40


def test_foreign_text_keeps_to_one_line_and_off_the_controls() -> None:
    assert one_line("a\n\tb\x1b]0;title\x07", 100) == "a b�]0;title�"
    assert plain("tab\tand\nline stay") == "tab\tand\nline stay"


def step(kind: str, **more: Any) -> dict[str, Any]:
    settled = {"state": "committed", "waiting_on": None, "effect_started_at": None}
    return {"kind": kind, "input": None, "output": None, "error": None, **settled, **more}


def test_what_a_model_decided_is_told_by_its_calls() -> None:
    parts = [
        {"part_kind": "tool-call", "tool_name": "run_sql"},
        {"part_kind": "tool-call", "tool_name": "run_sql"},
        {"part_kind": "tool-call", "tool_name": "draw_chart"},
    ]
    model = step("model", output={"response": {"parts": parts}, "feedback": None})
    assert came_out(model, 99) == "calls 2x run_sql, draw_chart"
    answer = [{"part_kind": "tool-call", "tool_name": "final_answer"}]
    ended = step("model", output={"response": {"parts": answer}, "feedback": None})
    assert came_out(ended, 99) == "gives the final answer"


def test_what_went_into_a_tool_is_its_arguments() -> None:
    tool = step(
        "tool",
        input={"tool": "x", "call_id": "c", "args": {"sql": "select 1"}},
        output={"outcome": "success", "content": {"sql": "select 1", "rows": 1}},
    )
    assert (went_in(tool, 99), came_out(tool, 99)) == ("sql=select 1", "rows=1")


def test_what_was_asked_for_and_refused_is_told_with_its_reason() -> None:
    _, sentences = told(
        event("call.refused", seq=3, tool="order", code="origin", reason="It came by schedule."),
        event("children.refused", seq=4, asked=3, bound="depth", max=4),
        event("children.refused", seq=5, asked=1, bound="children", max=32),
        event("children.refused", seq=6, asked=2, bound="descendants", max=100),
        event("children.refused", seq=7, asked=2, bound="budget", max=1),
    )
    assert sentences == [
        "✗   3  order  It came by schedule.",
        "✗   4  3 jobs were refused: they would be deeper in their line than 4",
        "✗   5  1 jobs were refused: this job would have more than 32 of its own",
        "✗   6  2 jobs were refused: its line would have more than 100",
        "✗   7  2 jobs were refused: budget",
    ]

"""The analyst's figures: all of them are grounded on real tables, and a planted one is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.examples.analyst import Request, analyst
from jobs.examples.analyst.report import Contents, KeyFigure, Section, load_contents, write_report
from jobs.guards.guard import Context, Kind, Stage
from jobs.guards.round import Round, go_round

Tables = Callable[[str], Path]
ASKED = Request(ask="which of the 2 carriers is late?", dataset=uuid4())
RIGHT = "F9 is late by 20.22 min over 682 flights, US by 3.78 over 19,873."


def keep_results(desk: Any) -> str:
    query: str = desk.keep_result(
        3,
        ["Carrier", "Flights", "Mean delay (min)"],
        [["F9", 682, 20.215543], ["US", 19_873, 3.782418]],
        sql="select carrier, count(*), avg(dep_delay) from data group by 1",
    )
    return query


def report_args(query: str, text: str) -> dict[str, Any]:
    section = {"heading": "By carrier", "text": text, "query": query}
    return {"title": "Delays", "headline": "F9 runs late.", "summary": [], "sections": [section]}


def judge(
    desk: Any, value: Any, stage: Stage = Stage.TOOL_ARGS, told: tuple[str, ...] = ()
) -> Round:
    context = Context(
        agent=analyst.name,
        input=ASKED.model_dump(mode="json"),
        tool="write_report" if stage is Stage.TOOL_ARGS else None,
        effect="write",
        under_taint="allow",
        taint=("run_sql",),
        retried=frozenset(told),
        records=desk.shelf,
    )
    return go_round(stage, value, analyst.all_guards, context)


def write(desk: Any, text: str) -> Contents:
    section = Section(heading="By carrier", text=text, query=keep_results(desk))
    ctx = desk.context(seq=6, request=ASKED)
    figure = KeyFigure(label="Flights", query="q3", column="Flights")
    report = write_report(ctx, "Delays", "F9 runs late.", [], [section], figures=[figure])
    assert report.confidence is not None
    return load_contents(ctx, report.artifact)


def test_a_report_says_how_much_of_it_is_grounded(desk: Any) -> None:
    contents = write(desk, RIGHT)
    assert (contents.figures_said, contents.confidence) == (4, 1.0)
    said = "100% of the 4 figures in its sentences stand in a result."
    assert said in desk.shelf.read("report.html")


def test_a_planted_number_is_shown_as_missing_in_the_report(desk: Any) -> None:
    contents = write(desk, f"{RIGHT} Delays rose by 31.7%.")
    assert contents.confidence == 0.8
    assert contents.figures_missing == ["31.7%"]
    assert "80% of the 5 figures" in desk.shelf.read("report.html")
    assert "not found: 31.7%." in desk.shelf.read("report.html")


def test_a_planted_number_is_caught_before_the_report_is_written(desk: Any) -> None:
    query = keep_results(desk)
    assert judge(desk, report_args(query, RIGHT)).kind is Kind.ALLOW
    planted = report_args(query, RIGHT.replace("682", "628"))
    first = judge(desk, planted)
    assert first.kind is Kind.RETRY
    assert "628" in first.reason
    assert judge(desk, planted, told=("grounding",)).kind is Kind.HALT


def test_a_planted_number_is_caught_in_the_answer(desk: Any) -> None:
    keep_results(desk)
    answer = {"title": "Delays", "headline": RIGHT, "findings": [], "confidence": None}
    passed = judge(desk, answer, Stage.JOB_OUTPUT)
    assert (passed.kind, passed.value["confidence"]) == (Kind.REPLACE, 1.0)
    planted = answer | {"findings": ["US flew 25,000 times."]}
    assert judge(desk, planted, Stage.JOB_OUTPUT).kind is Kind.RETRY


def test_a_result_that_reads_no_table_proves_nothing(desk: Any) -> None:
    query = keep_results(desk)
    desk.keep_result(5, ["made up"], [[31.7]], sql="select 31.7")
    planted = report_args(query, "Delays rose by 31.7%.")
    assert judge(desk, planted).kind is Kind.RETRY


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("flights", "which carriers run late, and when?"),
        ("penguins", "do longer flippers mean heavier penguins?"),
        ("seattle-weather", "when does it rain, and how warm is it?"),
        ("cars", "which origin has the most efficient cars?"),
        ("stocks", "how did the prices of the symbols develop?"),
        ("employment", "how did private employment change over time?"),
        ("electricity", "which source produces the most?"),
        ("airports", "which state has the most airports?"),
        ("riots", "how old were the victims, and where?"),
        ("wheat", "how do wages and wheat prices go together?"),
        ("planes", "which manufacturer has the most seats?"),
        ("nyc-weather", "when is it windy?"),
    ],
)
def test_every_figure_of_the_planner_is_grounded(
    desk: Any, tables: Tables, name: str, ask: str
) -> None:
    done = desk.run(tables(name), ask)
    (kept,) = [ref.name for ref in desk.shelf.list() if ref.name.startswith("report-")][-1:]
    contents = Contents.model_validate_json(desk.shelf.read(kept))
    assert contents.figures_said > 0
    assert contents.figures_missing == []
    output = analyst.answer.dump_python(done.analysis, mode="json")
    found = judge(desk, output, Stage.JOB_OUTPUT)
    assert (found.kind, found.value["confidence"]) == (Kind.REPLACE, 1.0), found.reason
    (args,) = done.calls("write_report")[-1:]
    assert judge(desk, args).passes

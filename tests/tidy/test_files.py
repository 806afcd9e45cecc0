"""The style that can be tested: every room has a caption and a size one can hold in the head."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 450
FLOORS = ("jobs", "scheduler", "broker", "store")
FILES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
STATEMENTS = sorted((ROOT / "store").rglob("*.sql"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_opens_with_its_caption_and_has_a_readable_size(path: Path) -> None:
    text = path.read_text("utf-8")
    caption = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert caption, "the first line of a file says what the room is for"
    assert caption[0].endswith((".", "`")), caption[0]
    assert text.count("\n") <= LINES_MAX


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.name)
def test_a_statement_opens_with_what_it_is_for(path: Path) -> None:
    assert path.read_text("utf-8").startswith("-- ")


def test_no_file_of_the_repository_is_large() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    large = [name for name in listed if name and (ROOT / name).stat().st_size > 600_000]
    assert large == []

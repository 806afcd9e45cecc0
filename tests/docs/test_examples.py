"""The examples in Python on all pages run as they stand, with what a reader has at hand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import jobs
from jobs.client import Client
from tests.conftest import Database
from tests.jobs.serving import TOKEN, Served, serve
from tests.processes import ROOT

# Put together and run by a worker elsewhere.
TAUGHT = "write-an-agent.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.name != TAUGHT and EXAMPLE.search(page.read_text())
]


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with serve(database, redis_url, tmp_path / "home") as api:
        yield api


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_the_page_run(page: Path, served: Served) -> None:
    names = {name: getattr(jobs, name) for name in jobs.__all__}
    names |= {"Client": Client, "url": served.url, "token": TOKEN, "data_id": str(uuid4())}
    for example in EXAMPLE.findall(page.read_text()):
        exec(compile(example, page.name, "exec"), names)


def test_there_are_pages_with_examples() -> None:
    assert {page.stem for page in PAGES} >= {"guards", "policy", "budgets", "schedules"}

"""A crew of real processes for each test, and a desk to hand jobs in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.processes import Crew, Viewer


@pytest.fixture
def crew(tmp_path: Path, database: Database, redis_url: str) -> Iterator[Crew]:
    made = Crew(tmp_path, database, redis_url)
    yield made
    made.end()


@pytest.fixture
def viewer(crew: Crew) -> Iterator[Viewer]:
    desk = crew.open_desk()
    yield Viewer(desk)
    desk.close()

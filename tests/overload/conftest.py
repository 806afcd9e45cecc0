"""Ground for short runs of the harness, on the servers of the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.overload.platform import Ground


@pytest.fixture
def ground(tmp_path: Path, database: Database, redis_url: str) -> Ground:
    urls = database.admin_url, database.runtime_url, database.operator_url
    return Ground(tmp_path, *urls, redis_url)

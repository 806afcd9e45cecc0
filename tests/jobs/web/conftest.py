"""A served API: on a fresh database for a test, or one for all tests that leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from broker.embedded import PrivateValkey
from store.embedded import PrivatePostgres
from tests.conftest import Database, urls_of
from tests.jobs.serving import Served, serve

LASTING = "lasting_of_web"


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    """An API on a fresh database and an empty Redis."""
    with serve(database, redis_url, tmp_path) as api:
        yield api


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with served.http as client:
        yield client


@pytest.fixture(scope="module")
def lasting(
    postgres: PrivatePostgres,
    template: str,
    redis_server: PrivateValkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """One API for the tests of a file that only ask for what is refused."""
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {LASTING} template {template}")
    home = tmp_path_factory.mktemp("home")
    with serve(urls_of(postgres, LASTING), redis_server.url, home) as api:
        yield api
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"drop database {LASTING} with (force)")

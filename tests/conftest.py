"""Real servers for the tests: one Postgres and one Redis a session, one database a test."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import structlog
from pydantic import SecretStr

from broker.embedded import PrivateValkey
from broker.settings import BrokerSettings
from store import migrate, tenants
from store.doors import Doors
from store.embedded import PrivatePostgres
from store.logs import readable
from store.settings import StoreSettings
from store.tenants import DEFAULT_TENANT

TEMPLATE = "template_of_tests"


@dataclass(frozen=True)
class Database:
    """A migrated database of its own. All are libpq URLs."""

    name: str
    admin_url: str
    runtime_url: str
    operator_url: str

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(
            database_url=SecretStr(self.runtime_url),
            operator_database_url=SecretStr(self.operator_url),
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STEPWELL_DATABASE_URL": self.runtime_url,
            "STEPWELL_OPERATOR_DATABASE_URL": self.operator_url,
        }


@pytest.fixture(scope="session", autouse=True)
def readable_logs() -> None:
    """Draw no local variables in a traceback, as no process of the house does: threads share them.

    What does so while they change raises, in place of the code that is tested.
    """
    structlog.configure(
        processors=[structlog.processors.add_log_level, readable(sys.stderr)],
    )


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Whatever logging is set up meanwhile is forgotten."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    # Short, because a unix socket's path has a limit that pytest's own folders come close to.
    home = Path(tempfile.mkdtemp(prefix="sw-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(servers_home: Path) -> Iterator[PrivatePostgres]:
    """The session's Postgres; tests that break a server start one of their own."""
    with PrivatePostgres(servers_home) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(servers_home: Path) -> Iterator[PrivateValkey]:
    """The session's Redis; tests that break a server start one of their own."""
    with PrivateValkey(servers_home) as server:
        yield server


def urls_of(server: PrivatePostgres, name: str) -> Database:
    def url(login: str) -> str:
        return server.url(login, server.password(login), name)

    return Database(name, url("stepwell_admin"), url("stepwell_runtime"), url("stepwell_clock"))


@pytest.fixture(scope="session")
def template(postgres: PrivatePostgres) -> str:
    """The name of a migrated database that every test's database is copied from."""
    made = urls_of(postgres, TEMPLATE)
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {TEMPLATE}")
    migrate.upgrade(made.admin_url, made.runtime_url, made.operator_url)
    return TEMPLATE


_NUMBERS = count(1)


@pytest.fixture
def database(postgres: PrivatePostgres, template: str) -> Iterator[Database]:
    """A fresh, migrated database."""
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")
    yield urls_of(postgres, name)
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def doors(database: Database) -> Iterator[Doors]:
    """The two doors of a fresh database."""
    opened = Doors(database.settings)
    yield opened
    opened.close()


@pytest.fixture
def tenant() -> UUID:
    """The tenant that every database has."""
    return DEFAULT_TENANT


@pytest.fixture
def other_tenant(doors: Doors) -> UUID:
    """A second tenant, for what must not be seen."""
    tenant_id = uuid4()
    with doors.as_operator("test") as tx:
        tenants.ensure(tx, tenant_id, f"other-{tenant_id}")
    return tenant_id


@pytest.fixture
def redis_url(redis_server: PrivateValkey) -> str:
    """The session's Redis, emptied."""
    from redis import Redis

    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def broker_settings(redis_url: str) -> BrokerSettings:
    return BrokerSettings(redis_url=SecretStr(redis_url))

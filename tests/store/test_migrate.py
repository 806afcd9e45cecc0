"""Migrating: from nothing, twice, twice at once, and what it says about where a database stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from sqlalchemy import Connection, text

from store import migrate, walls
from store.doors import Doors
from store.embedded import PrivatePostgres
from store.errors import NotReady, Unreachable
from store.migrations import HEAD
from store.schema import SCHEMA
from store.settings import StoreSettings
from store.tenants import DEFAULT_TENANT
from tests.conftest import Database, urls_of
from tests.running import at_once
from tests.store.test_schema import describe

EMPTY = "test_empty"


@pytest.fixture
def empty(postgres: PrivatePostgres, template: str) -> Iterator[Database]:
    """A database that nobody has migrated, in a cluster that has the roles already."""
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {EMPTY}")
    yield urls_of(postgres, EMPTY)
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute(f"drop database {EMPTY} with (force)")


def test_an_empty_database_has_no_migration_and_gets_the_newest(empty: Database) -> None:
    before = migrate.status(empty.admin_url)
    assert (before.current, before.head, before.is_current) == (None, HEAD, False)
    assert migrate.upgrade(empty.admin_url, empty.runtime_url, empty.operator_url).is_current
    assert migrate.status(empty.admin_url).is_current
    doors = Doors(empty.settings)
    doors.check()
    doors.check_operator()
    doors.close()


def test_asking_for_the_status_changes_nothing(empty: Database) -> None:
    migrate.status(empty.admin_url)
    with psycopg.connect(empty.admin_url) as admin:
        found = admin.execute("select 1 from pg_namespace where nspname = 'stepwell'").fetchone()
    assert found is None


def test_several_who_migrate_at_once_make_one_database(empty: Database, database: Database) -> None:
    def upgrade() -> migrate.MigrationStatus:
        return migrate.upgrade(empty.admin_url, empty.runtime_url, empty.operator_url)

    assert all(status.is_current for status in at_once([upgrade] * 4))
    with psycopg.connect(empty.admin_url) as one, psycopg.connect(database.admin_url) as other:
        assert describe(one, "stepwell") == describe(other, "stepwell")


def test_migrating_again_keeps_every_row_and_mends_a_changed_function(database: Database) -> None:
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("insert into stepwell.tenants values (gen_random_uuid(), 'kept')")
        admin.execute(
            "create or replace function stepwell.wake_due(p_limit int) returns int "
            "language sql as 'select -1'"
        )
    migrate.upgrade(database.admin_url, database.runtime_url, database.operator_url)
    with psycopg.connect(database.admin_url) as admin:
        kept = admin.execute("select 1 from stepwell.tenants where name = 'kept'").fetchone()
        swept = admin.execute("select stepwell.wake_due(1)").fetchone()
    assert kept == (1,)
    assert swept == (0,)


def test_a_migration_that_fails_leaves_nothing_behind(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate.functions, "read_all", lambda: {"broken": "create nonsense"})
    with pytest.raises(Exception, match="nonsense"):
        migrate.upgrade(empty.admin_url, empty.runtime_url, empty.operator_url)
    assert migrate.status(empty.admin_url).current is None


def test_a_login_that_may_not_migrate_is_told(database: Database) -> None:
    with pytest.raises(Exception, match=r"permission denied|must be|grant|admin option"):
        migrate.upgrade(database.runtime_url)
    with pytest.raises(Unreachable, match="does not answer"):
        migrate.upgrade("postgresql://somebody:hunter2@127.0.0.1:1/stepwell")


def test_without_the_roles_a_database_is_not_ready_rather_than_unreachable(
    database: Database,
) -> None:
    """As a fresh cluster looks, before the first migration made the roles."""
    settings = StoreSettings(database_url=database.settings.database_url)
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("alter role stepwell_app rename to stepwell_app_away")
    try:
        doors = Doors(settings)
        with pytest.raises(NotReady, match=r"stepwell migrate|stepwell doctor"):
            doors.check()
        doors.close()
    finally:
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute("alter role stepwell_app_away rename to stepwell_app")


@contextmanager
def migrated_to(revision: str, empty: Database) -> Iterator[Connection]:
    """A transaction on the database as that migration left it."""
    with migrate._admin(empty.admin_url) as tx:
        for statement in walls.role_statements():
            tx.execute(text(statement))
        tx.execute(text(f"create schema {SCHEMA} authorization {walls.OWNER}"))
        tx.execute(text(f"set local role {walls.OWNER}"))
        command.upgrade(migrate._config(tx), revision)
        tx.execute(text("reset role"))
        yield tx


def test_what_the_audit_has_said_of_a_job_is_found_by_it(empty: Database) -> None:
    job_id = uuid4()
    with migrated_to("0013", empty) as tx:
        for n, content in enumerate(({"job_id": str(job_id)}, {"job_id": None}, {}), start=1):
            told = {"tenant": DEFAULT_TENANT, "n": n, "content": json.dumps(content)}
            tx.execute(LINE, told)
    assert migrate.upgrade(empty.admin_url, empty.runtime_url, empty.operator_url).is_current
    with psycopg.connect(empty.admin_url) as admin:
        found = admin.execute("select n, job_id from stepwell.audit order by n").fetchall()
    assert found == [(1, job_id), (2, None), (3, None)]


def test_jobs_that_may_have_been_asked_for_by_an_outside_text_are_taken_for_it(
    empty: Database,
) -> None:
    with migrated_to("0011", empty) as tx:
        for origin in ("api", "agent", "schedule"):
            for sources in ([], ["inbox"]):
                told = {"tenant": DEFAULT_TENANT, "origin": origin, "sources": sources}
                tx.execute(BEFORE, told)
    assert migrate.upgrade(empty.admin_url, empty.runtime_url, empty.operator_url).is_current
    with psycopg.connect(empty.admin_url) as admin:
        found = admin.execute(
            "select origin, cardinality(tainted_by), input_tainted from stepwell.jobs order by 1, 2"
        ).fetchall()
    assert found == [
        ("agent", 0, False),
        ("agent", 1, True),
        ("api", 0, False),
        ("api", 1, False),
        ("schedule", 0, False),
        ("schedule", 1, True),
    ]


LINE = text(
    "insert into stepwell.audit (tenant_id, n, content, before_sha256, sha256) "
    "values (:tenant, :n, cast(:content as jsonb), '', '')"
)
BEFORE = text(
    """
    insert into stepwell.jobs (
      tenant_id, id, agent, agent_version, job_class, origin, status, outstanding, next_seq, input,
      root_id, tainted_by)
    select :tenant, new.id, 'a', '1', 'default', :origin, 'queued', 0, 1, '{}', new.id,
           cast(:sources as text[])
      from (select gen_random_uuid() as id) new
    """
)

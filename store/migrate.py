"""Bring a database to this version: roles, tables, walls, functions, logins; one process at a time.

Tables change by numbered migrations. The functions in `sql/` are replaced whole at every run: they
are code, and a new signature gets a new name so that old workers keep theirs during a deploy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import conninfo, sql
from sqlalchemy import Connection, create_engine, text

from store import readiness, walls
from store import sql as functions
from store.doors import check_url, reachable
from store.migrations import HEAD
from store.schema import SCHEMA

# Any number will do, as long as every migration of Stepwell takes the same one.
ADVISORY_LOCK = 0x57E9_3E11


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where a database stands against this version."""

    current: str | None
    head: str = HEAD

    @property
    def is_current(self) -> bool:
        return self.current == self.head


def upgrade(
    admin_url: str, runtime_url: str | None = None, operator_url: str | None = None
) -> MigrationStatus:
    """Upgrade the database; create and admit the logins of the two URLs where they are missing.

    Raises `Unreachable` when Postgres does not answer. Safe to run at any time, also twice at once.
    """
    with _admin(admin_url) as tx:
        tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
        for statement in walls.role_statements():
            tx.execute(text(statement))
        tx.execute(text(f"create schema if not exists {SCHEMA} authorization {walls.OWNER}"))
        tx.execute(text(f"set local role {walls.OWNER}"))
        command.upgrade(_config(tx), "head")
        for statement in functions.read_all().values():
            tx.exec_driver_sql(statement)
        tx.execute(text("reset role"))
        _admit(tx, runtime_url or admin_url, walls.APP)
        _admit(tx, operator_url or runtime_url or admin_url, walls.OPERATOR)
    return status(admin_url)


def status(url: str) -> MigrationStatus:
    """Read where the database stands, without changing it."""
    with _admin(url) as tx:
        if readiness.is_member(tx, walls.APP):
            tx.execute(text(f"set local role {walls.APP}"))
        return MigrationStatus(current=readiness.current_migration(tx))


@contextmanager
def _admin(url: str) -> Iterator[Connection]:
    check_url(url)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=10),
        hide_parameters=True,
    )
    try:
        with reachable(), engine.begin() as tx:
            yield tx
    finally:
        engine.dispose()


def _config(tx: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = tx
    return config


def _admit(tx: Connection, url: str, role: str) -> None:
    """Let the login of this URL take the role on, creating the login when it is missing."""
    parts = conninfo.conninfo_to_dict(url)
    login = str(parts.get("user") or "")
    if not login:
        return
    raw = tx.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)  # noqa: S101 - narrows the type, cannot fail
    name, password = sql.Identifier(login), parts.get("password")
    found = tx.execute(
        text(
            "select count(*) as roles, coalesce(bool_or(rolname = session_user), false) as is_me, "
            "current_setting('is_superuser') = 'on' as may_alter "
            "from pg_roles where rolname = :login"
        ),
        {"login": login},
    ).one()
    secret = sql.Literal(password)
    if not found.roles:
        raw.execute(sql.SQL("create role {} login password {}").format(name, secret))
    elif found.may_alter and not found.is_me and password:
        # The URL is what the processes will use, so the login follows it.
        raw.execute(sql.SQL("alter role {} login password {}").format(name, secret))
    raw.execute(
        sql.SQL("grant {} to {} with inherit false, set true").format(sql.Identifier(role), name)
    )

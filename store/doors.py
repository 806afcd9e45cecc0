"""The two doors to the database, `as_tenant` and `as_operator`, and the short way for hot steps.

There is no third. Both take their role when they connect and set the tenant for one transaction
only. The short way (`hot`) hands out a bare autocommit connection for the functions in `sql/`,
which set their tenant themselves: one round trip instead of four.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID

import psycopg
from psycopg import conninfo
from psycopg.abc import Params, Query
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store import readiness
from store.errors import Busy, NotReady, Unreachable
from store.settings import StoreSettings
from store.walls import APP, OPERATOR, TENANT_SETTING

# A transaction as whoever speaks no SQL passes it on.
Transaction = Connection


class HotConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that keeps one cursor: a new one for every call learns all types anew.

    So what one call gave is gone with the next.
    """

    @cached_property
    def _cursor(self) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.cursor()

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        # Its types say by halves what those of the connection say at once: Any.
        sql: Any = query
        return self._cursor.execute(sql, params, prepare=prepare, binary=binary)


class Doors:
    """The database as one process sees it. Connections open when first needed."""

    def __init__(self, settings: StoreSettings) -> None:
        if not settings.operator_url.get_secret_value():
            raise NotReady(
                "No database is named. Set STEPWELL_DATABASE_URL to a libpq URL such as "
                "postgresql://user:password@host:5432/name, or run `stepwell up`, which brings "
                "a private Postgres."
            )
        for url in (settings.database_url, settings.operator_url):
            check_url(url.get_secret_value())
        self.settings = settings
        self._walled = _engine(settings, settings.database_url, APP)
        self._hot = _engine(settings, settings.database_url, APP, autocommit=True)
        self._operator = _engine(settings, settings.operator_url, OPERATOR)

    @contextmanager
    def as_tenant(self, tenant_id: UUID) -> Iterator[Connection]:
        """A transaction that sees the rows of this tenant and nothing else."""
        with _begun(self._walled) as tx:
            tx.execute(_SET_TENANT, {"tenant": str(tenant_id)})
            yield tx

    @contextmanager
    def as_nobody(self) -> Iterator[Connection]:
        """A transaction without a tenant, for tables that have none; any other raises."""
        with _begun(self._walled) as tx:
            yield tx

    @contextmanager
    def as_operator(self, why: str) -> Iterator[Connection]:
        """A transaction that sees across tenants; `why` is shown in pg_stat_activity."""
        with _begun(self._operator) as tx:
            tx.execute(_SAY_WHY, {"why": f"stepwell: {why}"[:60]})
            yield tx

    @contextmanager
    def hot(self) -> Iterator[HotConnection]:
        """A bare connection for one call of one of the store's functions."""
        with reachable():
            pooled = self._hot.raw_connection()
        try:
            with reachable():
                # The pool was made by our own `connect`, so what it hands out is psycopg's.
                yield pooled.driver_connection  # type: ignore[misc]
        except Unreachable:
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    def check(self) -> None:
        """Raise `Unreachable` or `NotReady` when this database must not be used as it is."""
        with _begun(self._walled) as tx:
            readiness.check_login(tx)
            readiness.check_schema(tx)

    def check_operator(self) -> None:
        """The same through the operator's door, for a process that only uses that one."""
        with self.as_operator("boot check") as tx:
            readiness.check_login(tx)
            readiness.check_schema(tx)

    def close(self) -> None:
        for engine in (self._walled, self._hot, self._operator):
            engine.dispose()


def check_url(url: str) -> None:
    """Raise `NotReady` for what is no libpq URL: libpq would repeat a piece of the password."""
    try:
        port = str(conninfo.conninfo_to_dict(url).get("port") or "")
    except psycopg.ProgrammingError:
        port = "unreadable"
    if not all(each.isdigit() for each in port.split(",") if each):
        raise NotReady(
            "STEPWELL_DATABASE_URL, or one of the other two, is not a libpq URL such as "
            "postgresql://user:password@host:5432/name. In a user or password, write / as %2F, "
            "@ as %40 and : as %3A."
        )


_SET_TENANT = text(f"select set_config('{TENANT_SETTING}', :tenant, true)")
_SAY_WHY = text("select set_config('application_name', :why, true)")


@contextmanager
def _begun(engine: Engine) -> Iterator[Connection]:
    with reachable(), engine.begin() as tx:
        yield tx


@contextmanager
def reachable() -> Iterator[None]:
    """Turn the many ways of not reaching Postgres into one error without any credentials."""
    try:
        yield
    except PoolTimeout as error:
        raise Busy("Every connection to Postgres of this process is in use.") from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError):
            raise _unreachable(error.orig) from None
        raise
    except psycopg.OperationalError as error:
        raise _unreachable(error) from None


def _unreachable(error: BaseException | None) -> Unreachable | NotReady:
    said = str(error).strip().splitlines()
    first = said[0] if said else type(error).__name__
    if isinstance(error, psycopg.errors.QueryCanceled):
        return Unreachable(
            "Postgres took longer over a statement than STEPWELL_STATEMENT_TIMEOUT_S."
        )
    if "password authentication failed" in first or "permission denied to set role" in first:
        return NotReady(f"Postgres refuses this login: {first} Run `stepwell doctor`.")
    if "role" in first and "does not exist" in first:
        return NotReady(f"Postgres lacks a role: {first} Run `stepwell migrate`.")
    return Unreachable(f"Postgres does not answer: {first}")


def _engine(
    settings: StoreSettings, url: SecretStr, role: str, *, autocommit: bool = False
) -> Engine:
    def connect() -> HotConnection:
        return HotConnection.connect(
            url.get_secret_value(),
            autocommit=autocommit,
            connect_timeout=settings.connect_timeout_s,
            # A peer that is gone without a word is noticed in seconds, not in the system's hours.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
            options=f"-c role={role} -c statement_timeout={settings.statement_timeout_s}s "
            "-c search_path=pg_catalog -c idle_in_transaction_session_timeout=60s",
            application_name=f"stepwell {role.removeprefix('stepwell_')}",
        )

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        # A hot connection holds nothing between calls, so there is nothing to reset.
        pool_reset_on_return=None if autocommit else "rollback",
        hide_parameters=True,
    )
    if autocommit:
        # The hot functions are few and called often: every connection prepares them at once.
        @event.listens_for(engine, "connect")
        def _prepare_at_once(connection: HotConnection, _record: object) -> None:
            connection.prepare_threshold = 0

    return engine

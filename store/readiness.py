"""Whether a database may be used: login walled, schema of this version, row security forced."""

from __future__ import annotations

from sqlalchemy import Connection, text

from store.errors import NotReady
from store.migrations import HEAD
from store.schema import SCHEMA
from store.walls import walled_tables


def check_login(tx: Connection) -> None:
    """Refuse a login for which row-level security would not hold."""
    row = tx.execute(
        text("select rolname, rolsuper, rolbypassrls from pg_roles where rolname = session_user")
    ).one()
    if row.rolsuper or row.rolbypassrls:
        raise NotReady(
            f"The login {row.rolname!r} is a superuser or bypasses row security, so the walls "
            "between tenants would not hold. Give `stepwell migrate` that login as "
            "STEPWELL_MIGRATION_DATABASE_URL, and name an ordinary login in "
            "STEPWELL_DATABASE_URL: migrate creates it if it is missing."
        )


def check_schema(tx: Connection) -> None:
    """Refuse a database at another migration, or with a table that is not walled."""
    found = current_migration(tx)
    if found != HEAD:
        raise NotReady(
            f"The database is at migration {found or 'none'}, this version needs {HEAD}. "
            "Run `stepwell migrate`."
        )
    bare = sorted(set(walled_tables()) - set(forced_tables(tx)))
    if bare:
        raise NotReady(f"Row security is not forced on {', '.join(bare)}. Run `stepwell migrate`.")


def current_migration(tx: Connection) -> str | None:
    """The migration this database is at, or None for a database without one."""
    exists = tx.execute(
        text("select to_regclass(:name)"), {"name": f"{SCHEMA}.alembic_version"}
    ).scalar()
    if exists is None:
        return None
    found = tx.execute(text(f"select version_num from {SCHEMA}.alembic_version")).scalar()  # noqa: S608
    return None if found is None else str(found)


def is_member(tx: Connection, role: str) -> bool:
    """Whether this login may take the role on; False also when there is no such role."""
    found = tx.execute(
        text("select pg_has_role(oid, 'set') from pg_roles where rolname = :role"), {"role": role}
    ).scalar()
    return bool(found)


def forced_tables(tx: Connection) -> list[str]:
    """The tables on which row security is enabled and forced."""
    rows = tx.execute(
        text(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = :schema and c.relrowsecurity and c.relforcerowsecurity"
        ),
        {"schema": SCHEMA},
    )
    return [str(row.relname) for row in rows]

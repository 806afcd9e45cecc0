"""The migrated database is the declared one: tables, laws, walls, grants, functions and pages."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import CreateDomainType
from sqlalchemy.schema import CreateIndex, CreateTable

from store import sql as functions
from store.doors import Doors
from store.migrations import HEAD
from store.schema import SCHEMA, metadata
from store.schema.ground import Word
from store.states import JobStatus, StepState
from store.walls import APP, APP_GRANTS, OPERATOR, operator_grants, walled_tables
from tests.conftest import Database

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
VERSION_TABLE = "alembic_version"


def migrated_tables(tx: Connection) -> set[str]:
    rows = tx.execute(
        text("select tablename from pg_tables where schemaname = :schema"), {"schema": SCHEMA}
    )
    return {row.tablename for row in rows} - {VERSION_TABLE}


def squeeze(sql: str) -> str:
    return re.sub(r"\s+", " ", sql.replace('"', "")).strip().lower()


def describe_declared(database: Database, name: str) -> dict[str, set[str]]:
    """What Postgres says of the tables as declared, built beside the migrated ones."""
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(f"create schema {name}")
        for word in declared_words():
            ddl = str(CreateDomainType(word).compile(dialect=postgresql.dialect()))
            admin.execute(ddl.replace(f"{SCHEMA}.", f"{name}."))
        for table in metadata.sorted_tables:
            ddl = [str(CreateTable(table).compile(dialect=postgresql.dialect()))]
            ddl += [
                str(CreateIndex(i).compile(dialect=postgresql.dialect())) for i in table.indexes
            ]
            for statement in ddl:
                admin.execute(statement.replace(f"{SCHEMA}.", f"{name}."))
        return describe(admin, name)


def declared_words() -> list[Word]:
    """The types of the columns that hold a word of an enum, each once."""
    types = (column.type for table in metadata.sorted_tables for column in table.columns)
    return list({t.name: t for t in types if isinstance(t, Word)}.values())


def describe(admin: psycopg.Connection, schema: str) -> dict[str, set[str]]:
    """Columns, constraints, indexes and storage settings, in Postgres' own words."""
    asked = {
        "columns": "select table_name, column_name, data_type, domain_name, is_nullable,"
        " column_default, numeric_precision, numeric_scale from information_schema.columns"
        " where table_schema = %s",
        "constraints": "select conrelid::regclass, contypid::regtype, conname,"
        " pg_get_constraintdef(oid)"
        " from pg_constraint where connamespace = %s::regnamespace and contype <> 'n'",
        "indexes": "select tablename, indexdef from pg_indexes where schemaname = %s",
        "storage": "select relname, reloptions from pg_class"
        " where relnamespace = %s::regnamespace and relkind = 'r'",
    }
    admin.execute("set search_path = pg_catalog")
    found = {}
    for what, query in asked.items():
        rows = {str(row).replace(f"{schema}.", "") for row in admin.execute(query, (schema,))}
        found[what] = {row for row in rows if VERSION_TABLE not in row}
    return found


def test_alembic_finds_no_difference_to_the_declared_tables(database: Database) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.admin_url)
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": SCHEMA,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
            },
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize("what", ["columns", "constraints", "indexes", "storage"])
def test_the_migrated_tables_are_the_declared_ones_to_the_letter(
    database: Database, what: str
) -> None:
    """Alembic compares neither CHECK constraints nor the conditions of partial indexes."""
    declared = describe_declared(database, "declared")[what]
    with psycopg.connect(database.admin_url) as admin:
        assert describe(admin, SCHEMA)[what] == declared


def test_every_law_has_a_name_of_its_own() -> None:
    laws = [
        str(constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    ]
    laws += [str(word.constraint_name) for word in declared_words()]
    assert len(laws) == len(set(laws)) >= 12
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", law) for law in laws)


def test_the_database_is_at_the_newest_migration_there_is(doors: Doors) -> None:
    folder = Path(functions.__file__).parents[1] / "migrations" / "versions"
    numbers = sorted(file.name[:4] for file in folder.glob("0*.py"))
    assert numbers[-1] == HEAD
    assert {file.name[:4] for file in folder.glob("*.sql")} <= set(numbers)


def test_the_functions_are_those_of_the_files(database: Database) -> None:
    files = functions.read_all()
    with psycopg.connect(database.admin_url) as admin:
        found = dict(
            admin.execute(
                "select proname, prosrc from pg_proc where pronamespace = %s::regnamespace",
                (SCHEMA,),
            ).fetchall()
        )
    assert set(found) == set(files)
    for name, body in found.items():
        assert body in files[name], f"{name} is not what its file says"


def test_no_function_runs_with_more_rights_than_its_caller(database: Database) -> None:
    with psycopg.connect(database.admin_url) as admin:
        owners = admin.execute(
            "select proname from pg_proc where pronamespace = %s::regnamespace and prosecdef",
            (SCHEMA,),
        ).fetchall()
    assert owners == []


def test_every_table_with_a_tenant_is_walled(doors: Doors) -> None:
    with doors.as_operator("test") as tx:
        with_tenant = {
            row.table_name
            for row in tx.execute(
                text(
                    "select table_name from information_schema.columns "
                    "where table_schema = :schema and column_name = 'tenant_id'"
                ),
                {"schema": SCHEMA},
            )
        }
        assert with_tenant == set(walled_tables())
        forced = {
            row.relname
            for row in tx.execute(
                text(
                    "select relname from pg_class where relnamespace = to_regnamespace(:schema)"
                    " and relrowsecurity and relforcerowsecurity"
                ),
                {"schema": SCHEMA},
            )
        }
        assert forced == with_tenant
        policies = tx.execute(
            text("select * from pg_policies where schemaname = :schema"), {"schema": SCHEMA}
        ).all()
    found = {(p.tablename, p.policyname, *p.roles, p.permissive, p.cmd) for p in policies}
    assert found == {
        (table, policy, role, "PERMISSIVE", "ALL")
        for table in with_tenant
        for policy, role in (("tenant_wall", APP), ("operator_door", OPERATOR))
    }
    for policy in policies:
        if policy.policyname == "tenant_wall":
            assert "tenant_id = " in policy.qual
            assert "current_setting('stepwell.tenant_id'::text)" in policy.qual
            assert policy.with_check == policy.qual


def test_keys_of_walled_tables_start_with_the_tenant() -> None:
    """Unique checks and foreign keys look through row security."""
    for name in walled_tables():
        table = metadata.tables[f"{SCHEMA}.{name}"]
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint) or name == "tenants":
                continue
            assert next(iter(constraint.columns)).name == "tenant_id", constraint.name


def test_grants_are_the_declared_ones_and_no_table_is_forgotten(doors: Doors) -> None:
    with doors.as_operator("test") as tx:
        tables = migrated_tables(tx)
        granted = tx.execute(
            text(
                "select c.relname, a.grantee::regrole::text as who, a.privilege_type as what "
                "from pg_class c, aclexplode(c.relacl) a "
                "where c.relnamespace = to_regnamespace(:schema) and c.relkind = 'r' "
                "and a.grantee <> c.relowner"
            ),
            {"schema": SCHEMA},
        ).all()
        owners = tx.execute(
            text("select distinct tableowner from pg_tables where schemaname = :schema"),
            {"schema": SCHEMA},
        ).scalars()
        assert list(owners) == ["stepwell_owner"]
    assert tables == set(APP_GRANTS)
    found: dict[tuple[str, str], set[str]] = {}
    for row in granted:
        found.setdefault((row.relname, row.who), set()).add(row.what.lower())
    expected = {
        (table, APP): set(rights.split(", ")) for table, rights in APP_GRANTS.items() if rights
    }
    expected |= {(table, OPERATOR): set(operator_grants(table).split(", ")) for table in tables}
    expected |= {(VERSION_TABLE, role): {"select"} for role in (APP, OPERATOR)}
    assert found == expected


def test_history_cannot_be_rewritten_by_the_walled_role() -> None:
    for table in ("events", "usage", "decisions", "audit"):
        assert APP_GRANTS[table] == "select, insert"
    for table in ("decisions", "audit"):
        assert operator_grants(table) == "select, insert"
    assert not [table for table in ("jobs", "checkpoints") if "delete" in APP_GRANTS[table]]


@pytest.mark.parametrize(
    ("heading", "law", "states"),
    [
        ("Status of a job", "job_status_is_known", JobStatus),
        ("State of a step", "step_state_is_known", StepState),
    ],
)
def test_the_enum_the_law_and_the_page_name_the_same_states(
    heading: str, law: str, states: type[JobStatus] | type[StepState], database: Database
) -> None:
    names = {each.value for each in states}
    with psycopg.connect(database.admin_url) as admin:
        row = admin.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", (law,)
        ).fetchone()
    assert row is not None
    assert set(re.findall(r"'(\w+)'", row[0])) == names

    section = PAGE.read_text("utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(rows) == sorted(names)


def test_the_page_names_every_function_that_moves_a_step_and_no_other() -> None:
    told = set(re.findall(r"`(\w+)\.sql`", PAGE.read_text("utf-8")))
    assert told == set(functions.read_all()) - {"tell_event"}

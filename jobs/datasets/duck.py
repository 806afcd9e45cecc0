"""Opening DuckDB inside a confined child: few threads, bounded memory, nothing else reachable.

Questions are answered by one thread: with two, the sum of the same doubles differs in its last
digits from run to run, by the order in which the threads happened to add them.
"""

from __future__ import annotations

from typing import Any

import duckdb

QUIET_SETTINGS: dict[str, Any] = {
    "async_threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "spill",
    "max_temp_directory_size": "2GB",
}


def open_read_only(path: str, memory_mib: int) -> duckdb.DuckDBPyConnection:
    """A connection that can read this one file and change nothing, not even its settings."""
    settings = {"threads": 1, "memory_limit": f"{memory_mib}MB", "enable_external_access": False}
    connection = duckdb.connect(path, read_only=True, config=QUIET_SETTINGS | settings)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


def open_empty(memory_mib: int) -> duckdb.DuckDBPyConnection:
    """A connection without any table, which reads statements and runs none."""
    settings = {"threads": 1, "memory_limit": f"{memory_mib}MB", "enable_external_access": False}
    connection = duckdb.connect(":memory:", config=QUIET_SETTINGS | settings)
    connection.execute("SET lock_configuration = true")
    return connection


def open_to_build(output: str, sources: list[str], memory_mib: int) -> duckdb.DuckDBPyConnection:
    """A connection that may read `sources` and write one new database file, attached as `made`."""
    settings = {"threads": 2, "memory_limit": f"{memory_mib}MB"}
    connection = duckdb.connect(":memory:", config=QUIET_SETTINGS | settings)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"ATTACH {quote_text(output)} AS made")
    paths = ", ".join(quote_text(path) for path in sources)
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def fetch_one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The one row of a query that always has one."""
    return tuple(connection.execute(sql).fetchall()[0])


def quote_name(name: str) -> str:
    """A column name, whatever is in it, as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    """What DuckDB says is wrong, without its advice and context."""
    return str(error).strip().split("\n", 1)[0][:500]

"""Which SQL may run: one reading statement, over the table `data`, that only computes.

DuckDB parses the statement and gives its tree as JSON; every table and function named anywhere in
it is held against short lists. What is on none of them is refused, so that a new DuckDB with new
functions that reach out does not open a door. The database is read-only, locked, and confined
besides; this guard exists to say no clearly, and to keep paths and settings out of results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from jobs.datasets.duck import first_line
from jobs.datasets.errors import RefusedQuery

SQL_CHARACTERS_MAX = 100_000
# Two levels for a call within a call. Some versions of Python refuse to read deeper ones anyway.
TREE_DEPTH_MAX = 800
TOO_DEEP = "the statement is nested too deeply"
TABLE = "data"
CATALOG_TABLES = frozenset({("information_schema", "columns"), ("information_schema", "tables")})
TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "summary"}
)
FUNCTION_PREFIXES_REFUSED = ("duckdb_", "pragma_", "read_", "write_", "pg_", "nextval", "currval")
FUNCTIONS_REFUSED = frozenset(
    {
        "getenv", "current_setting", "getvariable", "query", "query_table", "glob", "sniff_csv",
        "parquet_scan", "which_secret", "current_database", "current_query", "set_config",
        "sleep_ms", "json_execute_serialized_sql",
    }
)  # fmt: skip
NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
SHOWABLE = frozenset({"", "tables", TABLE})


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one statement in `sql`, without what surrounds it; raises `RefusedQuery`."""
    if len(sql) > SQL_CHARACTERS_MAX:
        raise RefusedQuery(f"the SQL is longer than {SQL_CHARACTERS_MAX:,} characters")
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise RefusedQuery(str(error).strip()[:1000]) from error
    if len(statements) != 1:
        raise RefusedQuery(f"send exactly one statement; there are {len(statements)}")
    kind = statements[0].type.name
    if kind == "MULTI":
        raise RefusedQuery("a PIVOT must name its values: PIVOT data ON column IN (…) USING …")
    if kind != "SELECT":
        raise RefusedQuery(f"only SELECT, WITH, VALUES, DESCRIBE and SUMMARIZE run, not {kind}")
    statement: str = _without_ending(statements[0].query)
    _check_tree(_parse(connection, statement))
    return statement


def _without_ending(statement: str) -> str:
    """The statement without the semicolons and comments after it, so that it can be wrapped."""
    encoded = statement.encode()  # offsets count bytes
    for offset, kind in reversed(duckdb.tokenize(statement)):
        if encoded[offset : offset + 1] != b";" and kind.name != "comment":
            break
        encoded = encoded[:offset]
    return encoded.decode()


def explain(error: duckdb.Error) -> str:
    """DuckDB's words on a failed statement, for the one who wrote it; not where in our wrapping."""
    words = str(error).split("\nLINE ", 1)[0]
    return "\n".join(line for line in words.splitlines() if line.strip())[:1000]


def _parse(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any]:
    try:
        row = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
        tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    except duckdb.Error as error:
        raise RefusedQuery(f"the statement cannot be checked: {first_line(error)}") from error
    except RecursionError as error:
        raise RefusedQuery(TOO_DEEP) from error
    if tree.get("error"):
        raise RefusedQuery(f"the statement cannot be checked: {tree.get('error_message')}")
    return tree


def _check_tree(tree: dict[str, Any]) -> None:
    parts = list(_walk(tree))
    named_here = {name.lower() for part in parts for name in _common_table_names(part)}
    for part in parts:
        _check_part(part, named_here)


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in the tree, without recursion: statements may be nested deeply."""
    waiting = [(tree, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > TREE_DEPTH_MAX:
            raise RefusedQuery(TOO_DEEP)
        if isinstance(part, dict):
            yield part
            waiting.extend((inner, depth + 1) for inner in part.values())
        elif isinstance(part, list):
            waiting.extend((inner, depth + 1) for inner in part)


def _common_table_names(part: dict[str, Any]) -> Iterator[str]:
    """The names a WITH gives, wherever it stands."""
    for entry in (part.get("cte_map") or {}).get("map", ()):
        yield entry["key"]
    if part.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE") and part.get("cte_name"):
        yield part["cte_name"]


def _check_part(part: dict[str, Any], named_here: set[str]) -> None:
    kind = str(part.get("type", ""))
    if kind.endswith("_NODE") and kind not in NODES:
        raise RefusedQuery("only reading is allowed; there is a statement that writes in it")
    if kind == "BASE_TABLE":
        _check_table(part, named_here)
    elif kind == "TABLE_FUNCTION":
        name = str(part["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise RefusedQuery(
                f"the table function {name}() is not available; query the table data"
            )
    elif kind == "SHOW_REF":
        shown = str(part.get("table_name", "")).strip('"').lower()
        if shown not in SHOWABLE | named_here:
            raise RefusedQuery("only SHOW TABLES, DESCRIBE data and SUMMARIZE data are available")
    elif part.get("class") == "FUNCTION":
        _check_function(str(part.get("function_name", "")).lower())


def _check_table(part: dict[str, Any], named_here: set[str]) -> None:
    schema, name = str(part.get("schema_name", "")).lower(), str(part["table_name"]).lower()
    if (schema, name) in CATALOG_TABLES:
        return
    if schema not in ("", "main") or (name != TABLE and (schema or name not in named_here)):
        raise RefusedQuery(f"there is no table {name!r} here; the table is called data")


def _check_function(name: str) -> None:
    if name in FUNCTIONS_REFUSED or name.startswith(FUNCTION_PREFIXES_REFUSED):
        raise RefusedQuery(f"the function {name}() is not available here")

"""SQL written by anyone: what it gives back exactly, and every way out that is closed to it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.datasets import confine
from jobs.datasets.duck import open_read_only
from jobs.datasets.errors import RefusedQuery
from jobs.datasets.ingest import ingest
from jobs.datasets.query import Answer, QueryLimits, query
from jobs.datasets.query_guard import check_statement

QUICK = QueryLimits(wall_clock_s=1.5, memory_mib=256)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    rows = "".join(f"{i},{i / 8},name {i % 7},2024-01-{i % 28 + 1:02}\n" for i in range(50_000))
    (folder / "t.csv").write_text(f"id,share,kind,day\n{rows}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPWELL_HOME", str(folder))
        return ingest(folder / "t.csv", owner="t").path


def ask(table: Path, sql: str, limits: QueryLimits = QUICK) -> Answer:
    return query(table, sql, limits=limits)


def refused(table: Path, sql: str, words: str, limits: QueryLimits = QUICK) -> None:
    with pytest.raises(RefusedQuery, match=words):
        ask(table, sql, limits)


@pytest.fixture(scope="module")
def guarded(table: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The guard's own connection, opened as the child opens it."""
    with open_read_only(str(table), 256) as connection:
        yield connection


# What it gives


def test_a_result_is_exact(table: Path) -> None:
    answer = ask(
        table,
        """SELECT sum(id) AS whole, 170141183460469231731687303715884105727::HUGEINT AS huge,
                  0.1::DOUBLE + 0.2 AS double, 1.5 AS dec, 123456789012345678.123456789 AS long,
                  true AS yes, NULL AS nothing, 'ä"' AS word FROM data""",
    )
    assert answer.rows == (
        (
            1249975000, 170141183460469231731687303715884105727, 0.1 + 0.2, 1.5,
            "123456789012345678.123456789", True, None, 'ä"',
        ),
    )  # fmt: skip
    assert type(answer.rows[0][0]) is int
    assert answer.types[:2] == ("HUGEINT", "HUGEINT")
    assert not answer.truncated


def test_what_json_has_no_word_for_becomes_text(table: Path) -> None:
    answer = ask(
        table,
        r"""SELECT DATE '2024-01-31', TIMESTAMP '2024-01-31 10:00:00.5', TIME '09:30',
                   TIMESTAMPTZ '2024-01-31 10:00:00+02', INTERVAL 3 DAYS, [1, NULL], {'a': 'b'},
                   MAP {'k': 1}, '\xFF'::BLOB, 'nan'::DOUBLE, '-inf'::DOUBLE, 'a' || chr(0),
                   DATE '290000-01-01', DATE 'infinity'""",
    )
    assert answer.rows[0] == (
        "2024-01-31", "2024-01-31 10:00:00.5", "09:30:00", "2024-01-31 08:00:00+00", "3 days",
        "[1, NULL]", "{'a': b}", "{k=1}", "\\xFF", "NaN", "-Infinity", "a\ufffd",
        "290000-01-01", "infinity",
    )  # fmt: skip


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.floats() | st.integers(-(2**120), 2**120), min_size=1, max_size=20))
def test_numbers_travel_without_losing_a_digit(table: Path, values: list[float]) -> None:
    printed = ", ".join(
        f"'{value!r}'::DOUBLE" if isinstance(value, float) else f"{value}::HUGEINT"
        for value in values
    )
    for sent, came in zip(values, ask(table, f"SELECT {printed}").rows[0], strict=True):
        if isinstance(sent, float) and not math.isfinite(sent):
            assert isinstance(came, str)
            assert repr(float(came)) == repr(sent)
        else:
            assert repr(came) == repr(sent)


def test_the_same_question_gives_the_same_digits(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id\n" + "".join(f"{i}\n" for i in range(400_000)))
    table = ingest(path, owner="t").path
    assert len({ask(table, "SELECT sum(sin(id)) FROM data").rows for _ in range(6)}) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM data",
        "from data select count(*)",
        "WITH a AS (SELECT 1), b AS (FROM a) SELECT * FROM b, data LIMIT 1",
        "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r WHERE x < 5) FROM r",
        "VALUES (1, 'a')",
        "DESCRIBE data",
        "SUMMARIZE data",
        "SHOW TABLES",
        "SELECT 1; -- and no more",
        "/* one */ SELECT ';--' ; /* two */ ;",
        "SELECT 1 -- comment without an end",
        "SELECT 'é', kind FROM data -- ü\n; -- ä;",
        "SELECT * FROM data PIVOT (count(*) FOR kind IN ('name 1', 'name 2'))",
        "SELECT unnest([1, 2]), x FROM range(3) t(x)",
        'SELECT "id", kind FROM main.data ORDER BY id DESC LIMIT 3',
        "SELECT column_name FROM information_schema.columns",
        "SELECT id, (SELECT max(id) FROM data) FROM data d WHERE d.id = 1",
        "SELECT kind, row_number() OVER (PARTITION BY kind ORDER BY id) FROM data QUALIFY 1 = 1",
    ],
)
def test_what_an_analyst_may_ask(table: Path, sql: str) -> None:
    assert ask(table, sql).rows


def test_order_survives_the_conversion_to_text(table: Path) -> None:
    rows = ask(table, "SELECT id, day FROM data ORDER BY day DESC, id LIMIT 5").rows
    assert [row[0] for row in rows] == [27, 55, 83, 111, 139]
    assert rows[0][1] == "2024-01-28"


def test_columns_of_one_name_are_told_apart(table: Path) -> None:
    answer = ask(table, "SELECT 1 AS a, 2 AS a, DATE '2024-01-01' AS a")
    assert len(set(answer.columns)) == 3
    assert answer.rows == ((1, 2, "2024-01-01"),)


def test_rows_cells_and_bytes_have_limits(table: Path) -> None:
    many = ask(table, "SELECT * FROM data a, data b", QueryLimits())
    assert (len(many.rows), many.truncated) == (10_000, True)
    exactly = ask(table, "SELECT id FROM data LIMIT 10000", QueryLimits())
    assert (len(exactly.rows), exactly.truncated) == (10_000, False)
    long = ask(table, "SELECT repeat('é', 20000) FROM range(3)")
    assert long.cells_cut == 3
    assert all(len(str(row[0])) == 10_001 for row in long.rows)
    heavy = ask(table, "SELECT repeat('x', 9000) FROM range(5000)", QueryLimits(bytes_max=100_000))
    assert heavy.truncated
    assert len(heavy.rows) == 11


# What it may not


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", r"read_csv\(\) is not available"),
        ("SELECT * FROM read_text('/etc/passwd')", "not available"),
        ("SELECT * FROM glob('/**')", "not available"),
        ("SELECT * FROM '/etc/passwd'", "the table is called data"),
        ("SELECT * FROM 'https://example.com/t.csv'", "the table is called data"),
        ('FROM "/etc/passwd"', "the table is called data"),
        ("SELECT (SELECT count(*) FROM read_blob('/etc/passwd'))", "not available"),
        ("WITH x AS (FROM parquet_scan('/x')) FROM x", "not available"),
        ("SELECT 1 UNION ALL SELECT size FROM read_blob('/etc/passwd')", "not available"),
        ("SELECT id FROM data WHERE id IN (FROM sniff_csv('/etc/passwd'))", "not available"),
        ("COPY data TO '/tmp/out.csv'", "not COPY"),
        ("COPY (SELECT 1) TO '/tmp/out.csv'", "not COPY"),
        ("EXPORT DATABASE '/tmp/out'", "not EXPORT"),
        ("ATTACH '/tmp/other.db'", "not ATTACH"),
        ("DETACH data", "not DETACH"),
        ("SET memory_limit = '100GB'", "not SET"),
        ("RESET memory_limit", "not SET"),
        ("PRAGMA database_list", "not PRAGMA"),
        ("CALL pragma_version()", "not CALL"),
        ("INSTALL httpfs", "not LOAD"),
        ("LOAD httpfs", "not LOAD"),
        ("CREATE TABLE x AS SELECT 1", "not CREATE"),
        ("CREATE TEMP MACRO f(a) AS a", "not CREATE"),
        ("DROP TABLE data", "not DROP"),
        ("INSERT INTO data SELECT * FROM data", "not INSERT"),
        ("DELETE FROM data", "not DELETE"),
        ("UPDATE data SET id = 1", "not UPDATE"),
        ("WITH x AS (DELETE FROM data RETURNING *) FROM x", "writes in it|syntax error"),
        ("WITH x AS (INSERT INTO data FROM data RETURNING id) FROM x", "writes in it"),
        ("CHECKPOINT", "only SELECT"),
        ("VACUUM", "not VACUUM"),
        ("EXPLAIN ANALYZE SELECT 1", "not EXPLAIN"),
        ("PREPARE p AS SELECT 1", "not PREPARE"),
        ("BEGIN TRANSACTION", "not TRANSACTION"),
        ("SELECT 1; SELECT 2", "exactly one statement; there are 2"),
        ("SELECT 1; DROP TABLE data; --", "there are 2"),
        ("SELECT 1 /* ; */; COPY data TO '/tmp/x' --", "there are 2"),
        ("", "there are 0"),
        ("-- nothing", "there are 0"),
        ("SELECT getenv('HOME')", "not available"),
        ("SELECT current_setting('temp_directory')", "not available"),
        ("SELECT GETVARIABLE('x')", "not available"),
        ("FROM duckdb_settings()", "not available"),
        ("FROM duckdb_databases", "the table is called data"),
        ("FROM pragma_database_list()", "not available"),
        ("FROM test_all_types()", "the table function test_all_types"),
        ("FROM seq_scan('data')", "the table function seq_scan"),
        ("SHOW DATABASES", "only SHOW TABLES"),
        ("FROM query('SELECT 1')", "not available"),
        ("FROM query_table('duckdb_settings')", "not available"),
        ("SELECT * FROM sqlite_master", "the table is called data"),
        ("PIVOT data ON kind USING count(*)", "must name its values"),
        ("SELECT write_log('x')", "not available"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nosuch", "there is no table 'nosuch' here"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "expression depth"),
        ("SELECT " + "abs(" * 500 + "1" + ")" * 500, "nested too deeply"),
        ("SELECT '" + "x" * 200_000 + "'", "longer than 100,000"),
    ],
)
def test_what_may_not_run(
    guarded: duckdb.DuckDBPyConnection, table: Path, sql: str, words: str
) -> None:
    before = (table.stat().st_mtime_ns, table.stat().st_size)
    with pytest.raises(RefusedQuery, match=words):
        check_statement(guarded, sql)
    assert (table.stat().st_mtime_ns, table.stat().st_size) == before


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("COPY data TO '/tmp/out.csv'", "not COPY"),
        ("FROM read_csv('/etc/passwd')", "not available"),
        ("SELECT nosuch FROM data", "nosuch"),
        ("SELECT CAST('x' AS INT)", "Conversion Error"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_what_may_not_run_or_fails_is_told_by_the_child(table: Path, sql: str, words: str) -> None:
    refused(table, sql, words)


def test_a_variable_of_ours_is_not_a_table(table: Path) -> None:
    leak = [1]
    refused(table, "FROM leak", "no table 'leak'")
    assert leak == [1]


def test_refusals_do_not_tell_where_our_files_are(table: Path) -> None:
    for sql in ("FROM nosuch", "SELECT nosuch FROM data", "FROM read_csv('x')", "ATTACH 'y'"):
        with pytest.raises(RefusedQuery) as refusal:
            ask(table, sql)
        assert str(table.parent) not in str(refusal.value)
    seen = ask(table, "SELECT * FROM information_schema.tables").rows
    assert str(table.parent) not in str(seen)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 1500000000))",
        "SELECT list(a.kind || b.kind) FROM data a, data b",
        "SELECT string_agg(a.kind || b.kind) FROM data a, data b",
    ],
)
def test_a_query_cannot_take_the_memory(table: Path, sql: str) -> None:
    started = time.monotonic()
    refused(table, sql, "needed more than .* aggregate or filter more", QueryLimits(memory_mib=128))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM data a, data b, data c WHERE a.id + b.id + c.id = 0.5",
    ],
)
def test_a_query_cannot_run_for_ever(table: Path, sql: str) -> None:
    started = time.monotonic()
    refused(table, sql, "took longer than 1 s", QueryLimits(wall_clock_s=1.0))
    assert time.monotonic() - started < 10


def test_without_the_guard_the_walls_still_hold(
    table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The guard says no clearly; were it fooled, the locked database would say no as well."""
    script = tmp_path / "cell_without_guard.py"
    disarm = (
        "\n    if function_name == 'run_query':"
        "\n        import jobs.datasets.query_errand as errand"
        "\n        errand.check_statement = lambda connection, sql: sql"
    )
    root = Path(__file__).parents[3]
    cell = confine.CELL.read_text().replace(
        "Path(__file__).resolve().parents[2]", f"Path({str(root)!r})"
    )
    line = '    enter_packages(module_name.rpartition(".")[0])'
    assert line in cell
    script.write_text(cell.replace(line, line + disarm))
    monkeypatch.setattr(confine, "CELL", script)
    assert ask(table, "SELECT * FROM duckdb_settings() LIMIT 1").rows  # the guard is off
    for sql in (
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM glob('/etc/*')",
    ):
        refused(table, sql, "disabled by configuration|Permission")

"""From a file to a table: every format, every kind of mess, and what is refused in which words."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.ingest import Ingested, IngestLimits, ingest, trim_cache

Make = Callable[..., Path]


def read(table: Ingested) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(table.path), read_only=True) as connection:
        return connection.execute("SELECT * FROM data").fetchall()


def load(path: Path, **limits: Any) -> Ingested:
    return ingest(path, owner="t", limits=IngestLimits(**limits))


def refused(path: Path, words: str, **limits: Any) -> None:
    with pytest.raises(UnreadableDataset, match=words):
        load(path, **limits)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_file(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make_file


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "t.parquet"
    duckdb.sql(
        f"""COPY (SELECT i AS id, 'name ' || i AS the_name, i / 4 AS share,
                  DATE '2024-01-01' + i::INT AS day FROM range(5000) AS r(i)) TO '{path}'"""
    )
    return path


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


# Formats


def test_types_are_read_from_the_values(make: Make) -> None:
    table = load(
        make(
            "t.csv",
            "whole,part,yes,day,moment,zone,clock,code,big,huge,word\n"
            "1,1.5,true,2024-01-31,2024-01-31 10:00,2024-01-31T10:00:00+02:00,09:30,007,"
            "12345678901234567890,123456789012345678901234567890123456789012,a\n"
            "-2,2e3,FALSE,2024-12-01,2024-02-01T11:00:30.5,2024-01-31T10:00:00Z,23:59,010,"
            "1,1,b\n",
        )
    )
    assert dict(zip(table.columns, table.types, strict=True)) == {
        "whole": "BIGINT", "part": "DOUBLE", "yes": "BOOLEAN", "day": "DATE",
        "moment": "TIMESTAMP", "zone": "TIMESTAMP", "clock": "TIME", "code": "VARCHAR",
        "big": "HUGEINT", "huge": "VARCHAR", "word": "VARCHAR",
    }  # fmt: skip
    first = read(table)[0]
    assert str(first[5]) == "2024-01-31 08:00:00"
    assert first[7:9] == ("007", 12345678901234567890)
    assert any("UTC" in note for note in table.notes)


def test_missing_values_are_null_however_they_are_written(make: Make) -> None:
    words = ["NA", "", "NULL", "N/A", "nan", "NaN", "null", "n/a", "#N/A"]
    rows = "".join(f"{word},x\n" for word in words)
    table = load(make("t.csv", f"number,word\n{rows}7,NA\n"))
    assert table.types == ("BIGINT", "VARCHAR")
    assert [row[0] for row in read(table)] == [None] * len(words) + [7]


def test_one_late_word_makes_a_column_text_and_loses_nothing(make: Make) -> None:
    rows = "".join(f"{i},{i}\n" for i in range(30_000))
    table = load(make("t.csv", f"a,b\n{rows}unknown,30000\n"))
    assert table.types == ("VARCHAR", "BIGINT")
    assert read(table)[-1] == ("unknown", 30_000)


def test_the_tables_of_other_lands(make: Make) -> None:
    table = load(
        make(
            "t.csv",
            'preis;anteil;tag;menge\n1.234,50;12%;31.12.2024;"1.000"\n-2,25;3.5%;01.02.2024;2.000\n',
        )
    )
    assert table.types == ("DOUBLE", "DOUBLE", "DATE", "DOUBLE")
    assert read(table)[0][:2] == (1234.5, 12.0)
    assert len(table.notes) >= 3


def test_grouped_numbers_and_money(make: Make) -> None:
    text = 'people,price\n"1,234","$1,200.50"\n12,-$3\n"1,000,000",€5\n'
    table = load(make("t.csv", text))
    assert table.types == ("BIGINT", "DOUBLE")
    assert read(table) == [(1234, 1200.5), (12, -3.0), (1000000, 5.0)]
    assert any("1,234" in note for note in table.notes)


def test_dates_that_could_be_read_two_ways_are_noted(make: Make) -> None:
    ambiguous = load(make("a.csv", "d,x\n01/02/2024,1\n03/04/2024,2\n"))
    clear = load(make("b.csv", "d,x\n01/02/2024,1\n31/04/2023,2\n13/05/2024,3\n"))
    day_first = load(make("c.csv", "d,x\n01/02/2024,1\n13/05/2024,3\n"))
    assert "could as well stand first" in ambiguous.notes[0]
    assert clear.types[0] == "VARCHAR"  # there is no 31 April
    assert str(read(day_first)[0][0]) == "2024-02-01"


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "upload"])
def test_tab_separated(make: Make, name: str) -> None:
    table = load(make(name, "a\tb\n1\tx, y\n2\tz\n"))
    assert table.columns == ("a", "b")
    assert read(table) == [(1, "x, y"), (2, "z")]


def test_json_lines_and_lists_of_records(make: Make) -> None:
    records = [{"a": 1, "d": "2024-01-01", "n": {"x": [1]}}, {"a": None, "extra": "7", "d": None}]
    lines = "\n".join(json.dumps(record) for record in records)
    one = load(make("t.jsonl", lines))
    two = load(make("t.json", json.dumps(records, indent=1)))
    assert one.format == "jsonl"
    assert two.format == "json"
    assert one.columns == two.columns == ("a", "d", "n", "extra")
    assert one.types[:2] == ("BIGINT", "DATE")
    assert read(one)[0][0] == read(two)[0][0] == 1


def test_parquet(parquet: Path) -> None:
    table = load(parquet)
    assert table.format == "parquet"
    assert table.rows == 5000
    assert table.columns == ("id", "the_name", "share", "day")


def test_excel_first_sheet_with_data(tmp_path: Path) -> None:
    import datetime as dt

    rows = [
        ["name", "n", "share", "day", "sum", "yes"],
        ["ä", 1, 0.1, dt.datetime(2024, 1, 31), "=B2+1", True],
        ["007", 2, 0.25, dt.datetime(2024, 2, 1), "=B3+1", False],
    ]
    table = load(workbook(tmp_path / "t.xlsx", {"empty": [], "Data": rows, "More": [["x"]]}))
    assert table.format == "xlsx"
    assert table.columns == ("name", "n", "share", "day", "sum", "yes")
    assert table.types[:4] == ("VARCHAR", "BIGINT", "DOUBLE", "DATE")
    assert read(table)[1][0] == "007"
    assert read(table)[0][4] is None  # a formula nobody has computed has no value
    assert any("'Data' of 3" in note for note in table.notes)


@pytest.mark.parametrize("packed", ["gz", "zip"])
def test_packed_tables(tmp_path: Path, packed: str) -> None:
    text = "a,b\n1,2\n3,4\n"
    path = tmp_path / f"t.csv.{packed}"
    if packed == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside/t.csv", text)
            archive.writestr("__MACOSX/inside/._t.csv", b"\0\1")
    assert read(load(path)) == [(1, 2), (3, 4)]


def test_encodings(make: Make) -> None:
    text = "name,n\nMüller,1\nÅsa – “x” €,2\n"
    expected = [("Müller", 1), ("Åsa – “x” €", 2)]
    for number, encoding in enumerate(("utf-8", "utf-8-sig", "utf-16", "cp1252")):
        table = load(make(f"{number}.csv", text.encode(encoding)))
        assert read(table) == expected, encoding
        assert table.columns == ("name", "n")
        assert ("Windows-1252" in " ".join(table.notes)) == (encoding == "cp1252")


def test_line_ends_of_every_kind(make: Make) -> None:
    for number, ends in enumerate(("\n", "\r\n", "\r", None)):
        text = "a,b\n1,x\n2,y\n3,z\n"
        mixed = "a,b\r\n1,x\n2,y\r\n3,z"
        table = load(make(f"{number}.csv", mixed if ends is None else text.replace("\n", ends)))
        assert read(table) == [(1, "x"), (2, "y"), (3, "z")], repr(ends)


# Mess that is read, and noted


def test_rows_with_too_few_fields_are_kept_and_those_with_too_many_noted(make: Make) -> None:
    good = "".join(f"{i},x,y\n" for i in range(50))
    table = load(make("t.csv", f"a,b,c\n{good}51,only\n52,x,y,z\n{good}"))
    assert table.rows == 101
    assert (51, "only", None) in read(table)
    notes = " ".join(table.notes)
    assert "1 rows had too few fields" in notes
    assert "1 rows had too many fields" in notes
    assert "(line 52)" in notes
    assert "(line 53)" in notes


def test_hostile_column_names_are_only_names(make: Make) -> None:
    names = [
        'a"b', "a'b", "line\nbreak", '"; DROP TABLE data; --', "<script>alert(1)</script>",
        "{c}", "%s", "select", "", "  ", "Ünï", "a,b", "=cmd()", "$1", "rowid", "\\", "/*", "ａ",
    ]  # fmt: skip
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerow(range(len(names)))
    writer.writerow(["x"] * len(names))
    table = load(make("t.csv", out.getvalue()))
    expected = [name.strip() or f"column_{i + 1}" for i, name in enumerate(names)]
    assert list(table.columns) == expected
    assert read(table)[0] == tuple(map(str, range(len(names))))


def test_names_given_twice_are_told_apart_in_every_format(make: Make, tmp_path: Path) -> None:
    assert load(make("t.csv", "a,A,a\n1,2,3\n")).columns == ("a", "A_2", "a_3")
    book = workbook(tmp_path / "t.xlsx", {"s": [["a", "a", None, "b"], [1, 2, 3, 4]]})
    assert load(book).columns == ("a", "a_2", "column_3", "b")
    assert len(set(load(make("t.jsonl", '{"a":1,"A":2}\n')).columns)) == 2


def test_one_column_is_a_table_with_a_question(make: Make) -> None:
    table = load(make("t.csv", "height\n1.5\n\n2\n"))
    assert table.types == ("DOUBLE",)
    assert "only one column" in table.notes[-1]


def test_a_formula_in_a_cell_is_only_text(make: Make) -> None:
    cell = '=HYPERLINK("http://x","y")'
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b"], [cell, "1"], ["@SUM(1)", "2"]])
    assert read(load(make("t.csv", out.getvalue())))[0][0] == cell


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
words_for_missing = {"", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan"}


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=40))
def test_any_text_comes_back_as_it_was(make: Make, rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["first", "second", "third"])
    writer.writerows([*row, "text"] for row in rows)
    table = load(make("t.csv", out.getvalue()))
    missing = lambda cell: None if cell in words_for_missing else cell  # noqa: E731
    came_back = read(table)
    assert len(came_back) == len(rows)
    for row, back in zip(rows, came_back, strict=True):
        for cell, value in zip(row, back, strict=False):
            if isinstance(value, str) or missing(cell) is None:
                assert value == missing(cell)
            else:  # every value of the column was a number, a date or a truth
                assert value is not None


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**17), 10**17)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(numbers, min_size=1, max_size=50))
def test_numbers_keep_every_digit(make: Make, values: list[float]) -> None:
    text = "n,word\n" + "".join(f"{value!r},x\n" for value in values)
    table = load(make("t.csv", text))
    expected = values if table.types[0] != "DOUBLE" else [float(value) for value in values]
    assert [row[0] for row in read(table)] == expected


# What is refused


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "missing.csv", "there is no file 'missing.csv'")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "not a regular file")


def test_nothing_in_it(make: Make) -> None:
    refused(make("a.csv", ""), "the file is empty")
    refused(make("b.csv", "\n\n  \n"), "only blank lines")
    refused(make("c.csv", "a,b\n"), "no rows")
    refused(make("d.csv", "\ufeff"), "empty")
    refused(make("e.jsonl", "\n"), "empty")
    refused(make("f.csv.gz", gzip.compress(b"")), "empty")
    refused(make("g.json", "[]"), "not of records")


def test_too_large(make: Make) -> None:
    path = make("t.csv", "a,b\n" + "1,2\n" * 1000)
    refused(path, r"0\.0 MiB; at most 0 are read", bytes_max=1000)


@pytest.mark.parametrize("packed", ["gz", "zip"])
def test_a_bomb_is_stopped_while_unpacking(tmp_path: Path, packed: str) -> None:
    text = b"a,b\n" + b"1,2\n" * 2_000_000
    path = tmp_path / f"t.csv.{packed}"
    if packed == "gz":
        path.write_bytes(gzip.compress(text))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", text)
    assert path.stat().st_size < 100_000
    refused(path, "unpacked, the file is larger than 1 MiB", bytes_max=2**20)


def test_a_workbook_bomb_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 3 * 2**20)
    refused(path, "unpacked, the workbook is 3 MiB", bytes_max=2**20)


def test_ten_thousand_columns(make: Make, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(10_000)]
    row = ",".join(["1"] * 10_000)
    refused(make("t.csv", ",".join(names) + f"\n{row}\n"), "10,000 columns; at most 2,000")
    record = json.dumps(dict.fromkeys(names, 1))
    refused(make("t.jsonl", record + "\n"), "10,000 columns; at most 2,000")
    refused(workbook(tmp_path / "t.xlsx", {"s": [names, [1] * 10_000]}), "10,000 columns")


def test_two_thousand_columns_are_read(make: Make) -> None:
    names = ",".join(f"c{i}" for i in range(2000))
    rows = "".join(",".join(["1.5"] * 2000) + "\n" for _ in range(5))
    assert len(load(make("t.csv", f"{names}\n{rows}")).columns) == 2000


def test_binary_and_foreign_files(make: Make) -> None:
    refused(make("a.csv", bytes(range(256)) * 10), "binary")
    refused(make("b.csv", b"%PDF-1.4 ..."), "PDF")
    refused(make("c.csv", "<!doctype html><html>"), "web page")
    refused(make("d.csv", "a,b\n" * 20_000 + "x,\0\n"), "binary")
    refused(make("e.csv.gz", gzip.compress(b"\x89PNG\r\n")), "picture")


def test_no_encoding_fits(make: Make) -> None:
    refused(make("a.csv", b"a,b\n1,\x81\x8d\x9d\n"), "not UTF-8 text .byte 6")
    refused(make("b.csv", b"a,b\n" + bytes(range(128, 255)) * 50), "not UTF-8")
    refused(make("c.csv", b"\xff\xfea\x00,\x00\x00\xd8\n\x00"), "says it is utf-16")


def test_a_separated_file_that_is_cut_off(make: Make) -> None:
    rows = "".join(f'{i},"text {i}"\n' for i in range(1000))
    inside_quotes = f'a,b\n{rows}1000,"cut o'
    table = load(make("a.csv", f"a,b\n{rows}1000"))
    assert "1 rows had too few fields" in table.notes[0]
    open_quote = load(make("b.csv", inside_quotes))
    assert open_quote.rows == 1000
    assert "(line 1,002)" in open_quote.notes[0]
    stray = f'a,b\n{rows}1000,"never closed\n{rows}'.replace(',"text', ",text").replace('"\n', "\n")
    refused(make("c.csv", stray), "opened on line 1,002 is never closed")


def test_a_json_file_that_is_cut_off(make: Make) -> None:
    lines = "".join(json.dumps({"a": i, "b": "x" * 20}) + "\n" for i in range(3000))
    refused(make("t.jsonl", lines[:-15]), "line 3,000 is not a JSON record.*cut off")
    refused(make("t.json", json.dumps([{"a": 1}, {"a": 2}])[:-4]), "JSON is damaged or cut off")
    refused(make("u.json", '{"rows": [\n{"a": 1}\n]}'), "one object")
    refused(make("v.jsonl", "[1, 2]\n[3, 4]\n"), "not of records")
    refused(make("w.jsonl", "hello\n"), "no JSON records")


def test_a_parquet_file_that_is_cut_off(parquet: Path, make: Make) -> None:
    data = parquet.read_bytes()
    refused(make("a.parquet", data[: len(data) // 2]), "Parquet file is damaged or cut off")
    footer_gone = data[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"
    refused(make("b.parquet", footer_gone), "Parquet file is damaged")


def test_a_workbook_that_is_cut_off(tmp_path: Path, make: Make) -> None:
    data = workbook(tmp_path / "t.xlsx", {"s": [["a", "b"], [1, 2]]}).read_bytes()
    refused(make("a.xlsx", data[: len(data) // 2]), "damaged or cut off")
    refused(workbook(tmp_path / "b.xlsx", {"s": []}), "no sheet with data")
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<nonsense")
    refused(tmp_path / "c.xlsx", "workbook is damaged")


def test_packed_files_that_are_cut_off_or_not_one_table(tmp_path: Path, make: Make) -> None:
    noise = "a,b\n" + "".join(f"{i},{i * 7919 % 1009}\n" for i in range(5000))
    packed = gzip.compress(noise.encode())
    refused(make("a.csv.gz", packed[: len(packed) // 2]), "cut off")
    refused(make("b.csv.gz", packed[:200] + b"\xff" * 50 + packed[250:]), "damaged")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
        archive.writestr("b.csv", "a,b\n1,2\n")
    refused(tmp_path / "two.zip", r"2 files: a\.csv, b\.csv; send one table")
    with zipfile.ZipFile(tmp_path / "none.zip", "w"):
        pass
    refused(tmp_path / "none.zip", "0 files")


def test_prose_is_no_table(make: Make) -> None:
    lines = ["Dear all,", "we met, talked, and ate.", "It was fine, mostly, on the whole, yes."]
    refused(make("t.csv", "\n".join(lines * 30)), "does not look like a table")


def test_reading_that_takes_too_long_or_too_much(make: Make) -> None:
    rows = "".join(f"{i},{i}.5,word {i}\n" for i in range(200_000))
    path = make("t.csv", f"a,b,c\n{rows}")
    refused(path, r"reading the file took longer than 0\.05 s", wall_clock_s=0.05)


def test_a_refusal_leaves_nothing_behind(make: Make, home: Path) -> None:
    refused(make("t.csv", "a,b\n"), "no rows")
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert list((home / "cache" / "tables" / "t").iterdir()) == []


# The cache


def test_a_table_is_made_once_for_its_bytes_and_once_an_owner(make: Make, tmp_path: Path) -> None:
    first = load(make("t.csv", "a,b\n1,2\n"))
    made_at = first.path.stat().st_mtime_ns
    again = load(make("other.csv", "a,b\n1,2\n"))
    assert again == first
    assert again.path.stat().st_mtime_ns == made_at
    others = ingest(tmp_path / "t.csv", owner="someone else")
    assert others.path != first.path
    assert load(make("t.csv", "a,b\n1,3\n")).path != first.path


def test_two_at_once_do_not_clash(make: Make, home: Path) -> None:
    path = make("t.csv", "a,b\n" + "".join(f"{i},{i}\n" for i in range(1000)))
    tables: list[Ingested] = []
    threads = [threading.Thread(target=lambda: tables.append(load(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 4
    assert len(set(tables)) == 1
    assert len(list((home / "cache" / "tables" / "t").iterdir())) == 1
    assert read(tables[0])[-1] == (999, 999)


def test_the_least_used_tables_go_when_the_cache_is_full(make: Make) -> None:
    old, kept, new = (load(make(f"{n}.csv", f"a,b\n{n},2\n")) for n in range(3))
    for age, table in ((300, old), (100, kept), (0, new)):
        home = table.path.parent
        os.utime(home, (home.stat().st_atime, home.stat().st_mtime - age))
    weight = sum(file.stat().st_size for file in new.path.parent.iterdir())
    trim_cache(2 * weight + 100, keep=new.path.parent)
    assert not old.path.exists()
    assert kept.path.exists()
    assert new.path.exists()
    assert load(make("0.csv", "a,b\n0,2\n")).rows == 1

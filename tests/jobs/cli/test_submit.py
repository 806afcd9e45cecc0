"""Submit: the list of bad input, each with a clear word and nothing left behind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.jobs.cli.conftest import Run
from tests.jobs.serving import Served

TABLE = "carrier,delay\nUA,5\nAA,7\nUA,\n"
FINE = ("--ask", "who is late?", "--email", "me@example.com")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_a_file_is_uploaded_and_named_in_the_input(run: Run, served: Served, table: Path) -> None:
    said = run("submit", "analyst", "--file", table, *FINE, "--json")
    job = json.loads(said.out)
    assert said.code == 0
    assert job["input"]["ask"] == "who is late?"
    assert job["input"]["email"] == "me@example.com"
    back = served.client.download(job["input"]["dataset"], table.with_suffix(".back"))
    assert back.read_text() == TABLE
    assert "3 rows" in said.err


def test_notes_about_the_file_are_passed_on(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("name,n\ncaf\xe9,1\nth\xe9,2\n".encode("latin-1"))
    said = run("submit", "analyst", "--file", path, *FINE)
    assert said.code == 0
    assert "note:" in said.err


def written(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("binary.csv", b"\x00\xff\x01" * 2000, "binary"),
        ("cut.csv.gz", gzip.compress(TABLE.encode() * 99)[:-9], ""),
        ("no.parquet", b"PAR1 not really", ""),
        ("columns.csv", b",".join(b"c%d" % n for n in range(10_000)) + b"\n", "10,000"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    run: Run, served: Served, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    before = served.row_counts()
    told = run("submit", "analyst", "--file", written(tmp_path, name, content), *FINE)
    assert told.code == 2, told.err
    assert said in told.err
    assert told.out == ""
    assert served.row_counts() == before


def test_a_file_that_is_missing_is_missed_with_a_guess(
    run: Run, served: Served, table: Path
) -> None:
    said = run("submit", "analyst", "--file", "tabel.csv", *FINE)
    assert said.code == 2
    assert "There is no file tabel.csv" in said.err
    assert "table.csv" in said.err.split("try:")[1]
    assert served.row_counts()["artifacts"] == 0


def test_a_folder_is_no_file(run: Run, tmp_path: Path) -> None:
    said = run("submit", "analyst", "--file", tmp_path, *FINE)
    assert said.code == 2
    assert "is not a file" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("analyst", "--ask", "x", "--email", "nonsense"), "email"),
        (("analyst", "--ask", "x", "--email", "a@example.com\nBcc: b@example.com"), "email"),
        (("analyst", "--ask", "x", "--email", "a@example.com", "--model", "nope"), "nope"),
        (("analyst", "--ask", "x", "--model", "nope:gpt"), "nope"),
        (("analyst", "--ask", " "), "ask"),
        (("analist", "--ask", "x"), "Did you mean 'analyst'"),
    ],
)
def test_what_is_wrong_is_said_before_the_file_is_sent(
    run: Run, served: Served, table: Path, words: tuple[str, ...], said: str
) -> None:
    before = served.row_counts()
    told = run("submit", *words, "--file", table)
    assert told.code == 2, told.err
    assert said in told.err
    assert served.row_counts() == before, "not even the upload is left"
    assert served.spooled == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("echo",), "nothing to do"),
        (("echo", "--input", "{"), "not JSON"),
        (("echo", "--input", "[1]"), "not an object"),
        (("echo", "--input", "@nowhere.json"), "nowhere.json"),
        (("echo", "--input", "{}", "--class", "urgent"), "urgent"),
        (("writer", "--ask", "x"), "email"),
        (("echo", "--input", '{"a": "\\u0000"}'), "NUL"),
        (("echo", "--input", '{"a": NaN}'), "not finite"),
        (("echo", "--input", '{"a": 1e999}'), "not finite"),
        (("echo", "--ask", "half \udcff"), "UTF-8"),
        (("echo", "--input", '{"a":' * 70 + "1" + "}" * 70), "levels deep"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(
    run: Run, served: Served, words: tuple[str, ...], said: str
) -> None:
    told = run("submit", *words)
    assert told.code == 2, told.err
    assert said in told.err
    assert served.row_counts()["jobs"] == 0

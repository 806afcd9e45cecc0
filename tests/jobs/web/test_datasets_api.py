"""Uploads: read before they are kept, kept whole, and nothing left of what was refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.web.spool import in_words, sweep_abandoned
from tests.conftest import Database
from tests.jobs.serving import TOKEN, Served, serve
from tests.running import at_once, eventually

TABLE = b"carrier,delay\nUA,5\nAA,7\nUA,\n"
KIB = 1024
TEN_THOUSAND_COLUMNS = b",".join(b"c%d" % n for n in range(10_000)) + b"\n" + b"1," * 9_999 + b"1\n"


def send(http: httpx.Client, content: Any, name: str = "table.csv") -> httpx.Response:
    return http.post("/v1/datasets", params={"name": name}, content=content)


def test_a_table_is_read_kept_and_described(served: Served, http: httpx.Client) -> None:
    answer = send(http, TABLE)
    dataset = answer.json()
    assert answer.status_code == 201
    assert (dataset["rows"], dataset["columns"], dataset["format"]) == (3, 2, "csv")
    assert (dataset["size_bytes"], dataset["name"]) == (len(TABLE), "table.csv")
    assert dataset["sha256"] == hashlib.sha256(TABLE).hexdigest()
    assert served.spooled == []
    assert http.get(f"/v1/artifacts/{dataset['id']}").content == TABLE


def test_a_second_upload_of_the_same_name_leaves_the_first_alone(http: httpx.Client) -> None:
    first = send(http, TABLE).json()
    second = send(http, TABLE + b"DL,1\n").json()
    assert first["id"] != second["id"]
    assert http.get(f"/v1/artifacts/{first['id']}").content == TABLE


def test_a_table_of_many_chunks_comes_back_byte_for_byte(http: httpx.Client) -> None:
    rows = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(200_000))
    assert len(rows) > 2 * 2**20
    dataset = send(http, iter([rows[:100], rows[100:]])).json()
    assert dataset["rows"] == 200_000
    assert http.get(f"/v1/artifacts/{dataset['id']}").content == rows


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "a.csv", "empty"),
        (b"\x00\x01\x02\xff" * 999, "a.csv", "binary"),
        (b"\n\n\n", "a.csv", ""),
        (b"PAR1" + b"\x00" * 99, "a.parquet", ""),
        (gzip.compress(TABLE * 9)[:-20], "a.csv.gz", ""),
        (b"PK\x03\x04" + b"\x00" * 50, "a.xlsx", ""),
        (TEN_THOUSAND_COLUMNS, "a.csv", "10,000"),
    ],
)
def test_what_is_no_table_is_refused_and_nothing_is_kept(
    lasting: Served, content: bytes, name: str, said: str
) -> None:
    before = lasting.row_counts()
    answer = send(lasting.http, content, name)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "unreadable-dataset"
    assert len(answer.json()["detail"]) > 10
    assert said in answer.json()["detail"]
    assert lasting.row_counts() == before
    assert lasting.spooled == []


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x.csv", "aSet-Cookie: x.csv"),
        ("C:\\data\\my table.csv", "my table.csv"),
        ("früh ☀.csv", "früh ☀.csv"),
        ('"><script>.csv', "script.csv"),
    ],
)
def test_a_name_is_made_harmless(lasting: Served, asked: str, kept: str) -> None:
    dataset = send(lasting.http, TABLE, asked).json()
    assert dataset["name"] == kept
    headers = lasting.http.get(f"/v1/artifacts/{dataset['id']}").headers
    assert "\n" not in headers["Content-Disposition"]
    assert headers["Content-Disposition"].startswith("attachment; filename=")


@pytest.mark.parametrize("name", ["", "...", "/", "\x00"])
def test_a_name_of_nothing_is_refused(lasting: Served, name: str) -> None:
    assert send(lasting.http, TABLE, name).status_code in (400, 422)


@pytest.fixture
def small(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    """An API that takes 64 KiB at most, and one upload at a time."""
    limits = {"artifact_bytes_max": 64 * KIB}
    with serve(database, redis_url, tmp_path, store=limits, uploads_max=1) as served:
        yield served


@pytest.mark.parametrize("is_declared", [True, False])
def test_too_many_bytes_are_refused_by_naming_the_limit(small: Served, is_declared: bool) -> None:
    before = small.row_counts()
    body = b"a,b\n" + b"1,2\n" * 500_000
    pieces = [body[at : at + 2**16] for at in range(0, len(body), 2**16)]
    answer = send(small.http, body if is_declared else iter(pieces))
    assert answer.status_code == 413
    assert "65,536 bytes" in answer.json()["detail"]
    assert "STEPWELL_ARTIFACT_BYTES_MAX" in answer.json()["detail"]
    assert small.row_counts() == before
    assert small.spooled == []


def test_the_last_byte_of_the_limit_still_fits(small: Served) -> None:
    body = b"a,b\n" + b"1,2\n" * (16 * KIB - 1)
    assert len(body) == 64 * KIB
    assert send(small.http, body).status_code == 201
    for one_more in (body + b"\n", iter([body, b"\n"])):
        answer = send(small.http, one_more)
        assert answer.status_code == 413
        assert "STEPWELL_ARTIFACT_BYTES_MAX" in answer.json()["detail"], "said by the spool"


def test_an_upload_that_breaks_off_leaves_nothing(small: Served) -> None:
    before = small.row_counts()
    begin_upload(small).close()
    eventually(lambda: not small.spooled)
    assert small.row_counts() == before
    assert send(small.http, TABLE).status_code == 201, "its place is free again"


def test_too_many_uploads_at_once_are_asked_to_come_back(small: Served) -> None:
    line = begin_upload(small)
    try:
        answer = send(small.http, TABLE)
    finally:
        line.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.json()["type"].endswith("#temporary-reduced-capacity")
    assert int(answer.headers["Retry-After"]) >= 2


def begin_upload(served: Served) -> socket.socket:
    """An upload that has begun and does not go on."""
    line = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    line.sendall(
        b"POST /v1/datasets?name=a.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\na,b\n1,2\n"
    )
    eventually(lambda: served.spooled)
    return line


def test_uploads_at_once_do_not_mix(served: Served) -> None:
    def one(n: int) -> Any:
        with served.http as http:
            return send(http, b"a,b\n" + b"%d,1\n" % n * (n + 1), f"{n}.csv").json()

    datasets = at_once([lambda n=n: one(n) for n in range(6)])  # type: ignore[misc]
    assert [dataset["rows"] for dataset in datasets] == [1, 2, 3, 4, 5, 6]


def test_what_a_killed_process_left_is_swept_after_a_day(tmp_path: Path) -> None:
    old, new, other = tmp_path / "a.upload", tmp_path / "b.download", tmp_path / "c.keep"
    for path in (old, new, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    assert sweep_abandoned(tmp_path) == 1
    assert not old.exists()
    assert new.exists()
    assert other.exists()


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(5, "5 bytes"), (512 * 2**20, "512 MiB"), (1536, "1.5 KiB"), (2**31, "2 GiB")],
)
def test_sizes_are_said_as_people_say_them(size_bytes: int, words: str) -> None:
    assert in_words(size_bytes) == words

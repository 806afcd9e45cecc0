"""Artifacts: the bytes as they are, and headers that keep a browser from believing them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from jobs.web.names import disposition, safe_name
from store import artifacts
from store.rows import ArtifactRow
from store.tenants import DEFAULT_TENANT
from tests.jobs.serving import Served
from tests.running import eventually

PAGE = b"<script>alert(1)</script>"


def keep(
    served: Served, name: str, media_type: str, data: bytes, job_id: UUID | None = None
) -> ArtifactRow:
    with served.doors.as_tenant(DEFAULT_TENANT) as tx:
        return artifacts.save(
            tx,
            tenant_id=DEFAULT_TENANT,
            job_id=job_id,
            seq=1 if job_id else None,
            name=name,
            media_type=media_type,
            chunks=[data],
            size_max_bytes=2**30,
        )


def test_the_files_of_a_job_are_listed_with_where_their_bytes_are(
    served: Served, http: httpx.Client
) -> None:
    job_id = served.hand.put_down()
    keep(served, "c1.png", "image/png", b"png", job_id)
    (told,) = http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    assert (told["name"], told["media_type"], told["size_bytes"]) == ("c1.png", "image/png", 3)
    assert (told["job_id"], told["seq"]) == (str(job_id), 1)
    assert http.get(told["links"]["content"]).content == b"png"


def test_a_page_may_show_itself_but_do_nothing(lasting: Served) -> None:
    row = keep(lasting, "report.html", "text/html", PAGE)
    answer = lasting.http.get(f"/v1/artifacts/{row.id}")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.content == PAGE
    assert answer.headers["Content-Type"].startswith("text/html")
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("media_type", "way"),
    [
        ("image/png", "inline"),
        ("text/html; charset=utf-8", "inline"),
        ("image/svg+xml", "attachment"),
        ("application/octet-stream", "attachment"),
        ("text/csv", "attachment"),
        ("nonsense", "attachment"),
    ],
)
def test_only_what_is_safe_to_show_is_shown(lasting: Served, media_type: str, way: str) -> None:
    row = keep(lasting, f"x-{way}", media_type, b"x")
    answer = lasting.http.get(f"/v1/artifacts/{row.id}")
    assert answer.headers["Content-Disposition"].startswith(f"{way}; ")


def test_a_part_can_be_asked_for(lasting: Served) -> None:
    row = keep(lasting, "numbers.txt", "text/plain", b"0123456789")
    answer = lasting.http.get(f"/v1/artifacts/{row.id}", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["ETag"] == f'"{row.sha256}"'


def test_an_empty_file_is_a_file(lasting: Served) -> None:
    row = keep(lasting, "empty.txt", "text/plain", b"")
    answer = lasting.http.get(f"/v1/artifacts/{row.id}")
    assert (answer.status_code, answer.content) == (200, b"")


def test_nothing_stays_in_the_spool_after_a_download(lasting: Served) -> None:
    row = keep(lasting, "big.bin", "application/octet-stream", b"x" * (3 * 2**20))
    assert len(lasting.http.get(f"/v1/artifacts/{row.id}").content) == 3 * 2**20
    eventually(lambda: not lasting.spooled)


def test_the_file_of_another_tenant_is_not_found(
    served: Served, http: httpx.Client, other_tenant: Any
) -> None:
    with served.doors.as_tenant(other_tenant) as tx:
        row = artifacts.save(
            tx,
            tenant_id=other_tenant,
            job_id=None,
            seq=None,
            name="theirs",
            media_type="text/plain",
            chunks=[b"secret"],
            size_max_bytes=100,
        )
    answer = http.get(f"/v1/artifacts/{row.id}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("asked", "safe"),
    [
        ("a/b/c.csv", "c.csv"),
        ("..", ""),
        ("a\x00\x1b[31m\u202eb", "a[31mb"),
        ('"quoted"', "quoted"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
    ],
)
def test_names_lose_what_could_do_harm(asked: str, safe: str) -> None:
    assert safe_name(asked) == safe


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.csv", 'inline; filename="a.csv"'),
        ("..", 'inline; filename="artifact"'),
        ("é.csv", "inline; filename=\"_.csv\"; filename*=UTF-8''%C3%A9.csv"),
        ('a";b=c', 'inline; filename="a;b=c"'),
    ],
)
def test_a_disposition_is_one_header_whatever_the_name(name: str, header: str) -> None:
    assert disposition("inline", name) == header

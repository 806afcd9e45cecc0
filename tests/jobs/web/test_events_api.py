"""The story of a job over HTTP: paged, streamed, taken up again, and ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from store import transitions
from store.tenants import DEFAULT_TENANT
from tests.conftest import Database
from tests.jobs.serving import Served, database_shut, serve
from tests.running import eventually

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def lively(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    """An API that looks often, beats every second and streams to two at most."""
    with serve(
        database,
        redis_url,
        tmp_path,
        stream_poll_ms=20,
        stream_heartbeat_s=1,
        streams_max=2,
    ) as served:
        yield served


def put_down(served: Served) -> UUID:
    return served.hand.put_down()


def tell(served: Served, job_id: UUID, message: str) -> None:
    with served.doors.hot() as connection:
        transitions.tell(connection, DEFAULT_TENANT, job_id, "job.progress", {"message": message})


def read(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Events of a stream as dictionaries; `comment` for a heartbeat."""
    fields: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name or "comment"] = value
        elif fields:
            yield fields
            fields = {}


def test_a_page_tells_what_happened_after_an_event(lively: Served) -> None:
    job_id = put_down(lively)
    for n in range(4):
        tell(lively, job_id, str(n))
    page = lively.http.get(f"/v1/jobs/{job_id}/events", params={"after": 1, "limit": 2}).json()
    assert [event["id"] for event in page["data"]] == [2, 3]
    assert page["data"][0]["data"] == {"message": "0"}
    assert page["has_more"]


def test_a_stream_tells_it_all_and_ends_with_the_job(lively: Served) -> None:
    job_id = put_down(lively)
    lively.hand.cancel(job_id)
    answer = lively.http.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    told = [event for event in read(iter(answer.text.splitlines())) if "event" in event]
    assert [event["event"] for event in told] == [
        "job.queued",
        "job.cancel_requested",
        "job.cancelled",
        "done",
    ]
    assert [event.get("id") for event in told] == ["1", "2", "3", None]
    assert json.loads(told[-1]["data"]) == lively.http.get(f"/v1/jobs/{job_id}").json()
    assert json.loads(told[0]["data"])["type"] == "job.queued"


def test_a_stream_tells_what_happens_while_it_is_open(lively: Served) -> None:
    job_id = put_down(lively)
    with lively.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        told = (event for event in read(answer.iter_lines()) if "event" in event)
        assert next(told)["event"] == "job.queued"
        tell(lively, job_id, "half way")
        assert json.loads(next(told)["data"])["data"] == {"message": "half way"}
        lively.hand.cancel(job_id)
        assert [event["event"] for event in told][-1] == "done"


@pytest.mark.parametrize("by_header", [True, False])
def test_a_stream_goes_on_behind_the_last_event_seen(lively: Served, by_header: bool) -> None:
    job_id = put_down(lively)
    for n in range(3):
        tell(lively, job_id, str(n))
    lively.hand.cancel(job_id)
    headers = {**STREAM, **({"Last-Event-ID": "3"} if by_header else {})}
    answer = lively.http.get(
        f"/v1/jobs/{job_id}/events",
        headers=headers,
        params={} if by_header else {"after": 3},
    )
    told = [event for event in read(iter(answer.text.splitlines())) if "event" in event]
    assert [event.get("id") for event in told] == ["4", "5", "6", None]


def test_a_stream_of_more_than_one_page_has_no_gap(lively: Served) -> None:
    job_id = put_down(lively)
    for n in range(1100):
        tell(lively, job_id, str(n))
    lively.hand.cancel(job_id)
    answer = lively.http.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    ids = [event["id"] for event in read(iter(answer.text.splitlines())) if "id" in event]
    assert ids == [str(n) for n in range(1, 1104)]


def test_a_silent_stream_beats(lively: Served) -> None:
    job_id = put_down(lively)
    with lively.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        comments = (event["comment"] for event in read(answer.iter_lines()) if "comment" in event)
        assert "ping" in "".join(next(comments) for _ in range(2))


def test_a_stream_outlives_a_database_that_goes_away(lively: Served, database: Database) -> None:
    job_id = put_down(lively)
    with lively.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        told = (event for event in read(answer.iter_lines()) if "event" in event)
        next(told)
        with database_shut(database), lively.http as http:
            assert http.get(f"/v1/jobs/{job_id}").status_code == 503
        lively.hand.cancel(job_id)
        assert [event["event"] for event in told][-1] == "done"


def test_only_so_many_streams_are_open_at_once(lively: Served) -> None:
    job_id = put_down(lively)
    path = f"/v1/jobs/{job_id}/events"
    with lively.http as http:
        with http.stream("GET", path, headers=STREAM) as one:
            # A line iterator that is let go closes its stream, so both are kept.
            first_lines = one.iter_lines()
            next(first_lines)
            with http.stream("GET", path, headers=STREAM) as two:
                second_lines = two.iter_lines()
                next(second_lines)
                third = lively.http.get(path, headers=STREAM)
                assert (third.status_code, third.json()["code"]) == (503, "busy")
                assert lively.http.get(path).status_code == 200, "a page is no stream"
        eventually(lambda: _opens(lively, path))


def _opens(served: Served, path: str) -> bool:
    with served.http as http, http.stream("GET", path, headers=STREAM) as answer:
        return answer.status_code == 200


@pytest.mark.parametrize("seen", ["x", "-1", "99999999999", "1.5"])
def test_an_event_that_cannot_be_is_refused(lively: Served, seen: str) -> None:
    job_id = put_down(lively)
    answer = lively.http.get(f"/v1/jobs/{job_id}/events", headers={**STREAM, "Last-Event-ID": seen})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


def test_the_server_stops_while_streams_are_open(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    with serve(database, redis_url, tmp_path) as served:
        job_id = put_down(served)
        http = served.http
        request = http.build_request("GET", f"/v1/jobs/{job_id}/events", headers=STREAM)
        answer = http.send(request, stream=True)
        assert answer.status_code == 200
    # Leaving the block asserts that the server has stopped; the stream is over with it.
    with suppress(httpx.TransportError):
        assert not any("done" in line for line in answer.iter_lines())

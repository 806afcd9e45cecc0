"""Problems: every error that is named has its answer, and no answer tells our secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.errors import BrokerError
from jobs import errors as ours
from jobs.agent.pipeline import Pipeline
from jobs.datasets.errors import Refused as RefusedData
from jobs.datasets.errors import RefusedQuery
from jobs.web import problems
from jobs.web.refusals import WebRefusal
from store.errors import StoreError, TakenOver
from tests.conftest import Database
from tests.jobs.serving import TOKEN, Served, database_shut, serve

# A query is refused inside a job, and a worker is taken over: no request meets these.
NEVER_MET = {TakenOver, StoreError, BrokerError, RefusedData, RefusedQuery, WebRefusal}


def family(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("root", [StoreError, BrokerError, ours.Refused, RefusedData, WebRefusal])
def test_every_named_error_has_its_answer(root: type[Exception]) -> None:
    missing = [
        error.__name__
        for error in family(root)
        if error not in NEVER_MET and problems.problem_of(error.__new__(error)).status == 500
    ]
    assert missing == []


def test_a_problem_says_all_that_the_standard_asks_for(lasting: Served) -> None:
    problem = lasting.http.get("/v1/jobs/00000000-0000-4000-8000-000000000000").json()
    assert problem.keys() == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
    }
    assert problem["type"] == "urn:stepwell:problem:not-found"
    assert problem["instance"].startswith("/v1/jobs/")


def test_what_does_not_exist_and_what_is_not_done_are_problems_too(lasting: Served) -> None:
    missing, wrong = lasting.http.get("/nothing"), lasting.http.delete("/v1/jobs")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    for answer in (missing, wrong):
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_wrong_value_is_never_repeated(lasting: Served) -> None:
    body = {"agent": "writer", "input": {"email": "not-an-address-but-a-secret"}}
    answer = lasting.http.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/jobs/00000000-0000-4000-8000-000000000000", None),
        ("POST", "/v1/jobs", b'{"agent":"echo","input":{}}'),
        ("POST", "/v1/datasets?name=a.csv", b"a,b\n1,2\n"),
        ("GET", "/v1/workers", None),
        ("GET", "/readyz", None),
    ],
)
def test_a_database_that_is_down_is_told_as_such(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    method: str,
    path: str,
    body: bytes | None,
) -> None:
    with serve(database, redis_url, tmp_path) as served, served.http as http:
        assert http.get("/v1/jobs").status_code == 200
        before = served.row_counts()
        with database_shut(database):
            headers = {"Content-Type": "application/json"}
            answer = http.request(method, path, content=body, headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "database-unreachable"), problem
        assert 2 <= int(answer.headers["Retry-After"]) <= 4
        for secret in (urlsplit(database.runtime_url).password or "", TOKEN, "Traceback"):
            assert secret not in answer.text
        assert http.get("/v1/jobs").status_code == 200, "it recovers by itself"
        assert served.row_counts() == before
        assert served.spooled == []


def test_a_redis_that_is_down_stops_no_job_from_being_accepted(
    database: Database, tmp_path: Path
) -> None:
    with serve(database, "redis://127.0.0.1:1/0", tmp_path) as served, served.http as http:
        accepted = http.post("/v1/jobs", json={"agent": "echo", "input": {}})
        ready, queues = http.get("/readyz"), http.get("/v1/queues")
    assert accepted.status_code == 202
    assert ready.status_code == queues.status_code == 503
    assert ready.json()["code"] == "redis-unreachable"


def test_a_fault_of_ours_keeps_its_reasons_to_itself(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    broken = Pipeline(name="broken", steps=[print], input_type=None)  # type: ignore[arg-type]
    with serve(database, redis_url, tmp_path, agents=[broken]) as served, served.http as http:
        answer = http.get("/v1/agents")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal-error"
    assert not re.search("Traceback|NoneType|AttributeError|jobs/web", answer.text)

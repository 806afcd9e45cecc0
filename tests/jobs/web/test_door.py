"""The threshold: who is let in, under which name, with how much; and what every answer carries."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from jobs.settings import Settings
from jobs.web.app import create_app
from jobs.web.door import host_name
from store.errors import NotReady
from tests.jobs.serving import TOKEN, Served

PATHS = ("/v1/jobs", "/v1/agents", "/v1/datasets", "/v1/artifacts/x", "/v1/nothing")


@pytest.fixture
def stranger(lasting: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lasting.url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_nobody_gets_in_without_the_token(
    stranger: httpx.Client, path: str, shown: str | None
) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    answer = stranger.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "wrong-token"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


def test_a_token_of_strange_bytes_is_a_wrong_token(stranger: httpx.Client) -> None:
    answer = stranger.get("/v1/jobs", headers={"Authorization": b"Bearer \xff\xfe"})
    assert answer.status_code == 401


def test_a_stranger_is_refused_before_the_body_is_sent(lasting: Served) -> None:
    with socket.create_connection(("127.0.0.1", lasting.port), timeout=10) as line:
        line.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json"])
def test_some_things_are_told_to_anybody(stranger: httpx.Client, path: str) -> None:
    assert stranger.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/openapi.json"])
def test_a_name_that_is_not_ours_is_refused(lasting: Served, path: str) -> None:
    answer = lasting.http.get(path, headers={"Host": "rebound.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown-host")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8700"])
def test_our_own_names_are_let_in(lasting: Served, name: str) -> None:
    assert lasting.http.get("/healthz", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    ("header", "name"),
    [("a:1", "a"), ("A", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")],
)
def test_the_port_is_no_part_of_a_name(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_beyond_the_limit_is_refused(lasting: Served, is_declared: bool) -> None:
    body = b"x" * (2 * 2**20)
    content = body if is_declared else iter([body])
    answer = lasting.http.post(
        "/v1/jobs", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert "1,048,576" in answer.json()["detail"]


def test_every_answer_is_numbered_and_says_how_to_be_treated(lasting: Served) -> None:
    fine = lasting.http.get("/v1/agents")
    refused = lasting.http.get("/v1/jobs/x")
    for answer in (fine, refused):
        assert len(answer.headers["X-Request-Id"]) == 16
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]


@pytest.mark.parametrize("token", ["", "short"])
def test_an_api_without_a_token_does_not_start(token: str) -> None:
    with pytest.raises(NotReady, match="STEPWELL_API_TOKEN"):
        create_app(Settings(api_token=SecretStr(token)))

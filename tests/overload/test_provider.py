"""The provider serves so many at once, behaves as it is told, and forgets no request."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.overload.provider import CRM, MODEL, Remote, Supplier

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {}}}


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Supplier(at_once=1, takes_s=0.2, crm_takes_s=0.0) as supplier:
        yield Remote(supplier.base_url.removesuffix("/v1"))


def ask(remote: Remote, token: str = "1x1", returned: int = 0) -> httpx.Response:
    messages = [{"role": "user", "content": token}]
    messages += [{"role": "tool", "content": "found"}] * returned
    body = {"messages": messages, "tools": [TOOL]}
    return httpx.post(f"{remote.url}/v1/chat/completions", json=body, trust_env=False)


def message_of(answer: httpx.Response) -> dict[str, object]:
    return dict(answer.json()["choices"][0]["message"])


def test_who_finds_every_machine_taken_waits_in_line(remote: Remote) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda token: ask(remote, token), ["1x1", "2x1"]))
    first, second = sorted(remote.seen(), key=lambda wired: wired.began_at)
    assert second.at < first.ended_at <= second.began_at + 0.01
    assert second.ended_at - second.began_at == pytest.approx(0.2, abs=0.1)


def test_a_job_is_given_as_many_calls_as_its_token_says(remote: Remote) -> None:
    assert "tool_calls" in message_of(ask(remote, "5x3"))
    assert "tool_calls" in message_of(ask(remote, "5x3", returned=1))
    assert message_of(ask(remote, "5x3", returned=2))["content"] == "Done."
    assert [(wired.token, wired.call) for wired in remote.seen()] == [
        *(("5x3", 1), ("5x3", 2), ("5x3", 3))
    ]


def test_it_fails_when_it_is_told_to_and_is_well_again_when_it_is_told_to(remote: Remote) -> None:
    remote.change(MODEL, mood="fails")
    assert ask(remote).status_code == 500
    remote.change(MODEL, mood="well")
    assert ask(remote).status_code == 200
    assert [wired.status for wired in remote.seen()] == [500, 200]


def test_it_says_when_to_come_back(remote: Remote) -> None:
    remote.change(MODEL, mood="limits", retry_after_s=7)
    answer = ask(remote)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_refused_requests_count_for_its_rate(remote: Remote) -> None:
    remote.change(MODEL, per_s_max=2, takes_s=0.0)
    assert [ask(remote).status_code for _ in range(4)] == [200, 200, 429, 429]


def test_the_second_dependency_has_a_time_of_its_own(remote: Remote) -> None:
    remote.change(CRM, takes_s=0.3)
    answer = httpx.post(f"{remote.url}/crm", json={"token": "1x2"}, trust_env=False)
    assert answer.json() == {"found": "a customer"}
    (wired,) = remote.seen()
    assert (wired.place, wired.status) == (CRM, 200)
    assert wired.ended_at - wired.began_at == pytest.approx(0.3, abs=0.1)

"""Dead letters over HTTP: listed, read, discarded, and replayed from the failed step, once."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from store.states import StepKind, StepState, Work
from store.transitions import Plan
from tests.jobs.parking import ERROR, advance, died, fail, submit, take
from tests.jobs.serving import Served

BUG = {"class": "bug", "message": "it broke", "hint": "mend it"}


def replay(http: httpx.Client, job_id: UUID, **body: Any) -> httpx.Response:
    return http.post(f"/v1/dead-letters/{job_id}/replay", json=body)


def listed(http: httpx.Client, **query: Any) -> list[str]:
    return [each["job_id"] for each in http.get("/v1/dead-letters", params=query).json()["data"]]


def test_a_failed_job_leaves_a_letter_that_says_why(served: Served, http: httpx.Client) -> None:
    job_id = died(served)
    (letter,) = http.get("/v1/dead-letters").json()["data"]
    assert letter == http.get(letter["links"]["self"]).json()
    assert (letter["object"], letter["job_id"], letter["seq"]) == ("dead_letter", str(job_id), 2)
    assert (letter["step"], letter["agent"]) == ("step.echo.next", "echo")
    assert (letter["class"], letter["message"], letter["hint"]) == tuple(ERROR.values())
    assert len(letter["fingerprint"]) == 12
    assert (letter["state"], letter["replayed_as"]) == ("open", None)


def test_letters_are_filtered_and_paged_newest_first(served: Served, http: httpx.Client) -> None:
    mail = [str(died(served)) for _ in range(3)]
    bug = str(died(served, BUG))
    assert listed(http) == [bug, *mail[::-1]]
    assert listed(http, **{"class": "bug"}) == [bug]
    assert listed(http, agent="writer") == []
    fingerprint = http.get(f"/v1/dead-letters/{mail[0]}").json()["fingerprint"]
    assert listed(http, fingerprint=fingerprint) == mail[::-1]
    http.post(f"/v1/dead-letters/{bug}/discard")
    assert listed(http, state="discarded") == [bug]
    first = http.get("/v1/dead-letters", params={"limit": 2}).json()
    assert first["has_more"]
    assert listed(http, limit=2, before=first["data"][-1]["job_id"]) == mail[1::-1]


def test_a_replay_goes_on_from_the_failed_step(served: Served, http: httpx.Client) -> None:
    job_id = died(served)
    told = replay(http, job_id)
    made = told.json()
    assert told.status_code == 202, made
    assert told.headers["Location"] == f"/v1/jobs/{made['id']}"
    assert (made["forked_from"], made["forked_from_seq"]) == (str(job_id), 2)
    assert (made["status"], made["class"], made["steps_done"]) == ("queued", "background", 1)
    first, second = served.hand.steps(UUID(made["id"]))
    assert (first.state, first.output) == (StepState.COMMITTED, {"done": 1})
    assert (second.state, second.effect_key) == (StepState.READY, f"{job_id}:2")
    letter = http.get(f"/v1/dead-letters/{job_id}").json()
    assert (letter["state"], letter["replayed_as"]) == ("replayed", made["id"])
    assert letter["decided_by"] == "operator"
    assert letter["links"]["replayed_as"] == f"/v1/jobs/{made['id']}"
    assert "replay" not in letter["links"]
    assert http.get(f"/v1/jobs/{job_id}").json()["status"] == "failed"


def test_a_replay_is_as_urgent_as_one_says(served: Served, http: httpx.Client) -> None:
    assert replay(http, died(served), **{"class": "interactive"}).json()["class"] == "interactive"
    empty = http.post(f"/v1/dead-letters/{died(served)}/replay")
    assert empty.json()["class"] == "background", "no body at all asks for nothing special"


def test_a_letter_is_replayed_once(served: Served, http: httpx.Client) -> None:
    job_id = died(served)
    made = replay(http, job_id).json()
    again = replay(http, job_id)
    assert (again.status_code, again.json()["code"]) == (409, "closed")
    assert made["id"] in again.json()["detail"]
    assert http.post(f"/v1/dead-letters/{job_id}/discard").status_code == 409
    assert served.row_counts()["jobs"] == 2


def test_a_discarded_letter_stays_discarded(served: Served, http: httpx.Client) -> None:
    job_id = died(served)
    first = http.post(f"/v1/dead-letters/{job_id}/discard")
    again = http.post(f"/v1/dead-letters/{job_id}/discard")
    assert (first.status_code, first.json()["state"]) == (200, "discarded")
    assert first.json() == again.json()
    refused = replay(http, job_id)
    assert refused.status_code == 409
    assert "discarded" in refused.json()["detail"]


def test_a_job_with_a_step_still_coming_in_is_replayed_later(
    served: Served, http: httpx.Client
) -> None:
    job_id = submit(served)
    calls = [Plan(StepKind.TOOL, "t", Work.WAITS, {"n": n}) for n in range(2)]
    advance(served, job_id, 1, *calls)
    slow, bad = take(served, job_id, 2), take(served, job_id, 3)
    fail(served, bad)
    early = replay(http, job_id)
    assert (early.status_code, early.json()["code"]) == (409, "not-settled")
    assert int(early.headers["Retry-After"]) >= 2
    served.hand.commit(slow, output=1)
    assert replay(http, job_id).status_code == 202


def test_many_are_lined_up_at_a_rate(served: Served, http: httpx.Client) -> None:
    mail = [died(served) for _ in range(4)]
    died(served, BUG)
    told = http.post("/v1/dead-letters/replay", json={"class": "not_sent", "per_s": 2, "limit": 3})
    assert (told.status_code, told.json()["planned"]) == (202, 3)
    assert told.json()["takes_s"] == 1
    letters = [http.get(f"/v1/dead-letters/{each}").json() for each in mail]
    assert [letter["state"] for letter in letters] == ["replaying"] * 3 + ["open"]
    due = [datetime.fromisoformat(letter["replay_at"]) for letter in letters[:3]]
    assert [(at - due[0]).total_seconds() for at in due] == [0, 0.5, 1]
    assert replay(http, mail[2]).status_code == 202, "nobody has to wait for its turn"
    again = http.post("/v1/dead-letters/replay", json={})
    assert again.json()["planned"] == 2, "what is lined up is not lined up again"


def test_letters_of_several_agents_share_one_rate_and_one_limit(
    served: Served, http: httpx.Client
) -> None:
    letters = []
    for _ in range(2):
        letters.append(died(served))
        letters.append(submit(served, "writer", email="a@example.com"))
        fail(served, take(served, letters[-1]))
    told = http.post("/v1/dead-letters/replay", json={"per_s": 1, "limit": 3}).json()
    lined_up = [http.get(f"/v1/dead-letters/{each}").json() for each in letters]
    assert told["planned"] == 3
    assert [letter["state"] for letter in lined_up] == ["replaying"] * 3 + ["open"]
    due = [datetime.fromisoformat(letter["replay_at"]) for letter in lined_up[:3]]
    assert [(at - due[0]).total_seconds() for at in due] == [0, 1, 2]


def test_only_what_is_served_here_is_lined_up(served: Served, http: httpx.Client) -> None:
    gone = served.hand.put_down()
    fail(served, take(served, gone))
    assert http.post("/v1/dead-letters/replay", json={}).json()["planned"] == 0
    unknown = http.post("/v1/dead-letters/replay", json={"agent": "test"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-agent")
    assert replay(http, gone).json()["code"] == "unknown-agent"


@pytest.mark.parametrize(
    "body",
    [
        {"per_s": 0},
        {"per_s": 101},
        {"limit": 0},
        {"limit": 10_001},
        {"state": "open"},
        {"agent": "\x00"},
    ],
)
def test_a_bulk_replay_that_makes_no_sense_is_refused(
    lasting: Served, body: dict[str, Any]
) -> None:
    told = lasting.http.post("/v1/dead-letters/replay", json=body)
    assert (told.status_code, told.json()["code"]) == (422, "invalid-request")


@pytest.mark.parametrize(
    "query", ["state=dead", "class=%00", "limit=0", "limit=201", "before=x", "agent="]
)
def test_a_listing_that_makes_no_sense_is_refused(lasting: Served, query: str) -> None:
    assert lasting.http.get(f"/v1/dead-letters?{query}").status_code == 422


def test_a_letter_nobody_has_is_not_found(served: Served, http: httpx.Client) -> None:
    alive = submit(served)
    for job_id in (uuid4(), alive):
        assert http.get(f"/v1/dead-letters/{job_id}").status_code == 404
        assert replay(http, job_id).status_code == 404
        assert http.post(f"/v1/dead-letters/{job_id}/discard").status_code == 404
        assert http.get("/v1/dead-letters", params={"before": str(job_id)}).status_code == 404

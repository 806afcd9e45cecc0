"""Questions over HTTP: what is asked is shown, and answered once, by an answer that fits."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from store.states import StepState
from store.transitions import Wait
from tests.asking import FINANCE, Asker, for_finance, gated
from tests.jobs.parking import (
    FREE,
    QUESTION,
    RECONCILE,
    REVIEW,
    SIGNAL,
    TIMER,
    advance,
    park,
    parked,
    submit,
    take,
)
from tests.jobs.serving import Served
from tests.running import at_once
from tests.stepping import Stepper


def answer(http: httpx.Client, job_id: UUID, seq: int = 1, **said: Any) -> httpx.Response:
    return http.post(f"/v1/jobs/{job_id}/steps/{seq}/answer", json={"n": 1, **said})


def woken_by(served: Served, job_id: UUID) -> Any:
    """What the next claim of the step is told."""
    woken = take(served, job_id).woken
    assert woken is not None
    return woken.result


def test_a_question_is_listed_with_all_a_person_needs(served: Served, http: httpx.Client) -> None:
    job_id = parked(served, RECONCILE)
    page = http.get("/v1/questions").json()
    (asked,) = page["data"]
    assert (asked["object"], asked["kind"], asked["state"]) == ("wait", "reconcile", "pending")
    assert (asked["job_id"], asked["seq"], asked["n"]) == (str(job_id), 1, 1)
    assert asked["prompt"] == RECONCILE.prompt
    assert asked["decisions"] == ["happened", "again", "fail"]
    assert asked["links"]["answer"] == f"/v1/jobs/{job_id}/steps/1/answer"
    assert not page["has_more"]
    job = http.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["waiting_for"]) == ("input_required", "reconcile")


def test_questions_are_listed_oldest_first_and_of_one_job(
    served: Served, http: httpx.Client
) -> None:
    ids = [str(parked(served)) for _ in range(3)]
    parked(served, TIMER)
    asked = http.get("/v1/questions", params={"limit": 2}).json()
    assert [each["job_id"] for each in asked["data"]] == ids[:2]
    assert asked["has_more"]
    (only,) = http.get("/v1/questions", params={"job_id": ids[2]}).json()["data"]
    assert only["job_id"] == ids[2]


@pytest.mark.parametrize(
    ("wait", "said", "kept"),
    [
        (QUESTION, {"answer": "left"}, "left"),
        (FREE, {"answer": {"name": "é", "size": [1, None]}}, {"name": "é", "size": [1, None]}),
        (FREE, {"answer": None}, None),
        (
            RECONCILE,
            {"decision": "happened", "result": {"id": 7}},
            {"decision": "happened", "result": {"id": 7}},
        ),
        (
            RECONCILE,
            {"decision": "happened", "result": None},
            {"decision": "happened", "result": None},
        ),
        (RECONCILE, {"decision": "again"}, {"decision": "again", "result": None}),
        (RECONCILE, {"decision": "fail"}, {"decision": "fail", "result": None}),
        (REVIEW, {"decision": "continue"}, {"decision": "continue", "result": None}),
        (REVIEW, {"decision": "fail"}, {"decision": "fail", "result": None}),
    ],
)
def test_an_answer_is_what_the_step_goes_on_with(
    served: Served, http: httpx.Client, wait: Wait, said: dict[str, Any], kept: Any
) -> None:
    job_id = parked(served, wait)
    told = answer(http, job_id, **said)
    closed = told.json()
    assert told.status_code == 200, closed
    assert (closed["state"], closed["result"], closed["decided_by"]) == (
        "answered",
        kept,
        "operator",
    )
    assert closed["closed_at"] is not None
    assert "answer" not in closed["links"]
    assert http.get("/v1/questions").json()["data"] == []
    assert woken_by(served, job_id) == kept


@pytest.mark.parametrize(
    ("wait", "said", "words"),
    [
        (QUESTION, {"answer": "up"}, '"left", "right"'),
        (QUESTION, {"answer": ["left"]}, "one of"),
        (QUESTION, {"answer": None}, "one of"),
        (QUESTION, {}, "`answer`"),
        (QUESTION, {"decision": "again"}, "neither"),
        (QUESTION, {"answer": "left", "result": 1}, "neither"),
        (RECONCILE, {"answer": "left"}, "decision"),
        (RECONCILE, {}, "decision"),
        (RECONCILE, {"decision": "continue"}, "happened, again, fail"),
        (RECONCILE, {"decision": "happened"}, "result"),
        (RECONCILE, {"decision": "again", "result": 1}, "`happened` only"),
        (RECONCILE, {"decision": "fail", "answer": 1}, "`answer`"),
        (REVIEW, {"decision": "again"}, "continue, fail"),
        (REVIEW, {"decision": "happened", "result": 1}, "continue, fail"),
        (REVIEW, {"decision": "continue", "result": 1}, "`happened` only"),
    ],
)
def test_what_is_no_answer_changes_nothing(
    served: Served, http: httpx.Client, wait: Wait, said: dict[str, Any], words: str
) -> None:
    job_id = parked(served, wait)
    before = served.hand.dump()
    told = answer(http, job_id, **said)
    assert (told.status_code, told.json()["code"]) == (422, "does-not-fit"), told.text
    assert words in told.json()["detail"]
    assert served.hand.dump() == before
    (asked,) = http.get("/v1/questions").json()["data"]
    assert asked["state"] == "pending"


def test_a_prompt_may_offer_less_than_its_kind_allows(served: Served, http: httpx.Client) -> None:
    narrow = Wait(RECONCILE.kind, "x", prompt={"ask": "?", "decisions": ["again", "fail"]})
    job_id = parked(served, narrow)
    assert answer(http, job_id, decision="happened", result=1).status_code == 422
    assert answer(http, job_id, decision="again").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"answer": "left"},
        {"n": 0, "answer": "left"},
        {"n": "one", "answer": "left"},
        {"n": 1, "decision": "maybe"},
        {"n": 1, "anser": "left"},
        {"n": 2**31, "answer": "left"},
        {"n": 1, "answer": "a\x00b"},
        {"n": 1, "answer": {"a\x00": 1}},
        {"n": 1, "answer": "x" * 300_000},
        {"n": 1, "answer": [[[[[[]]]]]]},
    ],
)
def test_a_body_that_makes_no_sense_is_refused(
    served: Served, http: httpx.Client, body: dict[str, Any]
) -> None:
    if body.get("answer") == [[[[[[]]]]]]:
        nested: list[Any] = []
        for _ in range(60):
            nested = [nested]
        body = {**body, "answer": nested}
    job_id = parked(served, FREE)
    told = http.post(f"/v1/jobs/{job_id}/steps/1/answer", json=body)
    assert (told.status_code, told.json()["code"]) == (422, "invalid-request"), told.text
    assert served.hand.states(job_id) == [StepState.WAITING]


@pytest.mark.parametrize("raw", ['{"n":1,"answer":NaN}', '{"n":1,"answer":"\\ud800"}'])
def test_an_answer_that_is_no_json_is_refused(served: Served, http: httpx.Client, raw: str) -> None:
    job_id = parked(served, FREE)
    told = http.post(
        f"/v1/jobs/{job_id}/steps/1/answer",
        content=raw,
        headers={"Content-Type": "application/json"},
    )
    assert told.status_code == 422
    assert served.hand.states(job_id) == [StepState.WAITING]


def test_a_question_is_answered_once(served: Served, http: httpx.Client) -> None:
    job_id = parked(served)
    assert answer(http, job_id, answer="left").status_code == 200
    again = answer(http, job_id, answer="right")
    assert (again.status_code, again.json()["code"]) == (409, "closed")
    assert "answered before" in again.json()["detail"]
    assert answer(http, job_id, answer="up").status_code == 409, "whatever is said now is too late"
    assert woken_by(served, job_id) == "left"


def test_of_many_answers_at_once_one_is_taken(served: Served, http: httpx.Client) -> None:
    job_id = parked(served, FREE)
    said = at_once([lambda n=n: answer(http, job_id, answer=n).status_code for n in range(8)])
    assert sorted(said) == [200] + [409] * 7
    told = [event for event in served.hand.story(job_id) if event == "step.woken"]
    assert len(told) == 1


def test_an_answer_to_what_was_asked_anew_is_refused(served: Served, http: httpx.Client) -> None:
    job_id = parked(served, RECONCILE)
    assert answer(http, job_id, decision="again").status_code == 200
    park(served, take(served, job_id), RECONCILE)
    late = answer(http, job_id, decision="happened", result="late")
    assert late.status_code == 409
    assert "question 2 is asked" in late.json()["detail"]
    (open_now,) = http.get("/v1/questions").json()["data"]
    assert (open_now["n"], open_now["state"]) == (2, "pending")
    assert answer(http, job_id, n=2, decision="fail").status_code == 200


def test_a_question_of_a_cancelled_job_is_closed(served: Served, http: httpx.Client) -> None:
    job_id = parked(served)
    http.post(f"/v1/jobs/{job_id}/cancel")
    late = answer(http, job_id, answer="left")
    assert late.status_code == 409
    assert "cancelled" in late.json()["detail"]


@pytest.mark.parametrize("wait", [TIMER, SIGNAL])
def test_what_asks_nobody_cannot_be_answered(
    served: Served, http: httpx.Client, wait: Wait
) -> None:
    job_id = parked(served, wait)
    assert answer(http, job_id, answer="left").status_code == 404
    assert served.hand.states(job_id) == [StepState.WAITING]


@pytest.mark.parametrize(("seq", "n"), [(2, 1), (1, 2)])
def test_a_question_nobody_asked_is_not_found(
    served: Served, http: httpx.Client, seq: int, n: int
) -> None:
    job_id = parked(served)
    assert answer(http, job_id, seq, n=n, answer="left").status_code == 404


def test_a_job_that_is_not_there_asks_nothing(http: httpx.Client) -> None:
    assert answer(http, uuid4(), answer="left").status_code == 404
    assert http.get("/v1/questions", params={"job_id": str(uuid4())}).status_code == 404


def test_the_questions_of_another_tenant_are_nobodys_business(
    served: Served, http: httpx.Client, other_tenant: UUID
) -> None:
    stranger = Stepper(served.doors, other_tenant)
    theirs = stranger.put_down()
    park(served, stranger.take(theirs, 1, stranger.start_worker()), QUESTION)
    assert http.get("/v1/questions").json()["data"] == []
    assert answer(http, theirs, answer="left").status_code == 404
    assert stranger.states(theirs) == [StepState.WAITING]


def test_a_call_in_doubt_is_for_those_who_may_approve_it(
    served: Served, http: httpx.Client
) -> None:
    asker = Asker(served.doors, served.hand.tenant_id)
    job_id = submit(served)
    advance(served, job_id, 1, gated(for_finance()))
    asker.decide(job_id, by="fred", roles=FINANCE)
    held = asker.granted(take(served, job_id, 2))
    asker.start_effect(held)
    park(served, held, RECONCILE)
    told = http.post(f"/v1/jobs/{job_id}/steps/2/answer", json={"n": 2, "decision": "again"})
    assert (told.status_code, told.json()["code"]) == (403, "not-yours")
    assert "'finance'" in told.json()["detail"]
    assert asker.states(job_id)[1] is StepState.WAITING

"""Every route that names a job stands behind the tenant's wall; none can be forgotten here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from store.states import JobStatus, StepState
from store.transitions import Ending
from tests.jobs.parking import ERROR, QUESTION, park
from tests.jobs.serving import Served
from tests.stepping import Stepper

# What each route is sent; a route that is not listed takes nothing.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/v1/jobs/{job_id}/steps/{seq}/answer"): {"n": 1, "answer": "left"},
    ("post", "/v1/jobs/{job_id}/signals"): {"name": "paid"},
    ("post", "/v1/jobs/{job_id}/fork"): {"from_step": 1},
    ("post", "/v1/jobs/{job_id}/steps/{seq}/decision"): {
        "n": 1,
        "args_sha256": "0" * 64,
        "decision": "approve",
    },
    ("post", "/v1/jobs/{job_id}/budget/raise"): {"usd": "1"},
}


@pytest.fixture
def theirs(served: Served, other_tenant: UUID) -> Stepper:
    return Stepper(served.doors, other_tenant)


def routes_of(http: httpx.Client) -> list[tuple[str, str]]:
    """Every route whose path names a job, as (method, path)."""
    paths = http.get("/openapi.json").json()["paths"]
    return [(m, path) for path, here in paths.items() for m in here if "{job_id}" in path]


def test_every_route_of_a_job_is_walled(
    served: Served, http: httpx.Client, theirs: Stepper
) -> None:
    parked, failed = theirs.put_down(), theirs.put_down()
    park(served, theirs.take(parked, 1, theirs.start_worker()), QUESTION)
    held = theirs.take(failed, 1, theirs.start_worker())
    theirs.commit(
        held, state=StepState.FAILED, error=ERROR, ending=Ending(JobStatus.FAILED, error=ERROR)
    )
    before = theirs.dump()
    found = routes_of(http)
    assert len(found) >= 12
    for method, path in found:
        for job_id in (parked, failed):
            url = path.replace("{job_id}", str(job_id)).replace("{seq}", "1")
            told = http.request(method, url, json=BODIES.get((method, path)))
            assert (told.status_code, told.json()["code"]) == (404, "not-found"), (method, path)
    assert theirs.dump() == before


def test_no_list_shows_what_is_another_tenants(
    served: Served, http: httpx.Client, theirs: Stepper
) -> None:
    parked, failed = theirs.put_down(), theirs.put_down()
    park(served, theirs.take(parked, 1, theirs.start_worker()), QUESTION)
    held = theirs.take(failed, 1, theirs.start_worker())
    theirs.commit(
        held, state=StepState.FAILED, error=ERROR, ending=Ending(JobStatus.FAILED, error=ERROR)
    )
    for path in ("/v1/jobs", "/v1/questions", "/v1/approvals", "/v1/dead-letters"):
        assert http.get(path).json()["data"] == []
    for path, name in (("/v1/jobs", "before"), ("/v1/dead-letters", "before")):
        assert http.get(path, params={name: str(failed)}).status_code == 404
    assert http.post("/v1/dead-letters/replay", json={}).json()["planned"] == 0


def test_every_route_wants_the_token(served: Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as stranger:
        paths = stranger.get("/openapi.json").json()["paths"]
        guarded = [(m, path) for path, here in paths.items() for m in here if "/v1/" in path]
        assert len(guarded) >= 20
        for method, path in guarded:
            url = path.replace("{job_id}", str(UUID(int=1))).replace("{seq}", "1")
            assert stranger.request(method, url).status_code == 401, (method, path)

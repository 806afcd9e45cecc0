"""What guards have said, over HTTP: whole steps, in their order."""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx

from tests.jobs.serving import Served
from tests.stepping import MODEL
from tests.store.test_guard_verdicts import COUNTED, MASKED, event


def put_down(served: Served) -> UUID:
    """A job of which guards have looked at two steps, and said something of the first."""
    hand = served.hand
    job_id = hand.put_down()
    hand.commit(hand.take(job_id), event=event(1, COUNTED, MASKED), plan=(MODEL,))
    hand.commit(hand.take(job_id, 2), event=event(2, COUNTED), plan=(MODEL,))
    return job_id


def test_what_guards_said_is_told_whole_steps_at_a_time(http: httpx.Client, served: Served) -> None:
    path = f"/v1/jobs/{put_down(served)}/guards"
    first = http.get(path, params={"limit": 1}).json()
    assert [(v["seq"], v["guard"], v["verdict"], v["count"]) for v in first["data"]] == [
        (1, "*", "allow", 4),
        (1, "secrets", "replace", 1),
    ]
    assert first["data"][1]["found"] == {"kinds": {"AWS key": 2}}
    assert first["has_more"]
    second = http.get(path, params={"limit": 1, "after": 1}).json()
    assert ([v["seq"] for v in second["data"]], second["has_more"]) == ([2], False)
    assert http.get(f"/v1/jobs/{uuid4()}/guards").status_code == 404


def test_the_input_of_a_job_is_looked_at_first(http: httpx.Client, served: Served) -> None:
    asked = {"agent": "writer", "input": {"email": "a@example.com", "ask": "AKIA" + "I" * 16}}
    job = http.post("/v1/jobs", json=asked).json()
    told = served.client.guards(job["id"])
    assert ("secrets", "replace", 0) in [(v["guard"], v["verdict"], v["seq"]) for v in told]
    assert job["links"]["guards"] == f"/v1/jobs/{job['id']}/guards"

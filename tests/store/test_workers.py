"""Which agents are served, and at which versions: by workers that live, and by no others."""

from __future__ import annotations

from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from store import workers
from store.doors import Doors
from store.states import Work, WorkerState


def start(doors: Doors, **serves: str) -> UUID:
    worker_id = uuid7()
    with doors.as_nobody() as tx:
        workers.register(
            tx, worker_id, name="w", work=Work.WAITS, slots=1, version="0", serves=serves
        )
    return worker_id


def is_served(doors: Doors, agent: str, version: str | None = None) -> bool:
    with doors.as_nobody() as tx:
        return workers.is_served(tx, agent, version)


def test_an_agent_is_served_at_the_version_that_a_worker_has(doors: Doors) -> None:
    start(doors, analyst="1")
    start(doors, analyst="2", clerk="a'b")
    assert is_served(doors, "analyst")
    assert is_served(doors, "analyst", "1")
    assert is_served(doors, "analyst", "2")
    assert is_served(doors, "clerk", "a'b")
    assert not is_served(doors, "analyst", "3")
    assert not is_served(doors, "clerk", "1")
    assert not is_served(doors, "nobody")


def test_without_any_worker_nothing_is_served(doors: Doors) -> None:
    assert not is_served(doors, "analyst")
    start(doors)
    assert not is_served(doors, "analyst")


@pytest.mark.parametrize("state", [WorkerState.DRAINING, WorkerState.STOPPED, WorkerState.LOST])
def test_a_worker_that_claims_nothing_more_serves_nothing(doors: Doors, state: WorkerState) -> None:
    worker_id = start(doors, analyst="1")
    with doors.as_nobody() as tx:
        workers.move(tx, worker_id, state)
    assert not is_served(doors, "analyst")

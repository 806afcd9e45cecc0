"""Recursion: a model that asks for three more jobs at every turn, and for what it may not have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from store import jobs as stored
from store.forks import Forked
from store.rows import EventRow, JobRow
from store.states import JobStatus, Origin
from tests.housing import Household, hand_of, replay
from tests.jobs.lifecycle.conftest import OpenHouse
from tests.programs import RECURSION_TURNS

DEPTH, CHILDREN, DESCENDANTS = 2, 4, 15
JOBS_LISTED = 1_000
PATIENCE_S = 90.0


@dataclass
class Wood:
    """Every job of a tenant, and what they tried."""

    household: Household
    ledger: Path

    def jobs(self) -> list[JobRow]:
        viewer = self.household.viewer
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            return stored.list_newest(tx, limit=JOBS_LISTED)

    def line_of(self, root_id: UUID) -> list[JobRow]:
        return [job for job in self.jobs() if job.root_id == root_id]

    def attempts(self, line: list[JobRow], kind: str) -> list[EventRow]:
        return [e for job in line for e in self.household.viewer.events(job.id) if e.type == kind]

    def grow(self, root_id: UUID) -> list[JobRow]:
        """Run it to the end of everybody in its line."""
        self.household.run(root_id, PATIENCE_S)
        line = self.line_of(root_id)
        assert {job.status for job in line} == {JobStatus.COMPLETED}
        return line

    def check(self, line: list[JobRow]) -> None:
        """Nobody is beyond a bound, nobody is more than who asked, and nothing was reached."""
        assert max(len(job.origins_above) for job in line) <= DEPTH
        assert max(job.children for job in line) <= CHILDREN
        assert sum(job.parent_job_id is not None for job in line) <= DESCENDANTS
        for job in line:
            assert [*job.origins_above, job.origin][0] == Origin.SCHEDULE
            assert (job.requester, job.roles) == ("ann", ["finance"])
            hand_of(self.household.viewer).check_books(job.id)
        lines = self.ledger.read_text().splitlines()
        assert [each for each in lines if each.startswith("reach")] == []
        assert {each for each in lines if each.startswith("offered")} == {"offered delegate"}

    def check_attempts(self, line: list[JobRow]) -> Counter[str]:
        """Every attempt is told of: each call that was refused, and each job that was not made."""
        denied = self.attempts(line, "call.refused")
        assert len(denied) == RECURSION_TURNS * len(line)
        assert {event.data["tool"] for event in denied} == {"reach"}
        born = sum(job.parent_job_id is not None for job in line)
        unborn = self.attempts(line, "children.refused")
        assert born + len(unborn) == 3 * RECURSION_TURNS * len(line)
        return Counter(event.data["bound"] for event in unborn)


@pytest.fixture
def wood(open_house: OpenHouse, ledger: Path) -> Wood:
    bounds = {"depth_max": DEPTH, "children_max": CHILDREN, "descendants_max": DESCENDANTS}
    return Wood(open_house(**bounds), ledger)


def plant(wood: Wood) -> UUID:
    who = {"origin": Origin.SCHEDULE, "requester": "ann", "roles": ("finance",)}
    return wood.household.viewer.submit("recursive", {"ask": "go on"}, **who)


def fork(wood: Wood, job_id: UUID, from_seq: int = 1) -> UUID:
    made, new_id = hand_of(wood.household.viewer).fork(job_id, from_seq)
    assert made is Forked.MADE
    return new_id


def test_recursion_ends_at_every_bound_and_each_attempt_is_told_of(wood: Wood) -> None:
    line = wood.grow(plant(wood))
    wood.check(line)
    assert len(wood.jobs()) == len(line) == 1 + DESCENDANTS
    assert Counter(job.depth for job in line) == {0: 1, 1: 3, 2: 12}
    # Those at the bottom may have none; those above them may not have six; the line is full then.
    bounds = wood.check_attempts(line)
    assert bounds == {"depth": 12 * 6, "children": 3 * 2, "descendants": 3}


def test_forks_and_replays_of_it_end_there_too(wood: Wood, ledger: Path) -> None:
    line = wood.grow(plant(wood))
    deep = next(job for job in line if job.depth == DEPTH)
    forked = wood.grow(fork(wood, deep.id))
    assert len(forked) == 1, "a copy of a job at the bottom is at the bottom"
    wood.check(forked)
    assert wood.check_attempts(forked) == {"depth": 3 * RECURSION_TURNS}

    failing = ledger.with_name("say-model")
    failing.write_text("fail")
    broken = fork(wood, deep.id)
    assert wood.household.run(broken).status is JobStatus.FAILED
    failing.unlink()
    replayed = wood.grow(replay(wood.household.viewer, broken))
    assert len(replayed) == 1
    wood.check(replayed)
    assert wood.check_attempts(replayed) == {"depth": 3 * RECURSION_TURNS}

    # What a person asks for anew has bounds of its own, and no more than those.
    again = wood.grow(fork(wood, line[-1].root_id))
    wood.check(again)
    assert len(again) == 1 + DESCENDANTS
    wood.check_attempts(again)
    assert len(wood.jobs()) == 2 * (1 + DESCENDANTS) + 3

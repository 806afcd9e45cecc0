"""The watch: one settles, and nothing goes on in a name that nobody believes in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from jobs.lifecycle.stopping import Stopped, stoppably
from jobs.lifecycle.watch import Running, Watch
from store.states import StepKind, Work
from store.transitions import Claim


def claim_by(worker_id: UUID) -> Claim:
    """A claim as the store gives it; what it is of does not matter here."""
    known: dict[str, Any] = {
        "worker_id": worker_id,
        "tenant_id": uuid7(),
        "job_id": uuid7(),
        "seq": 1,
        "kind": StepKind.FUNCTION,
        "work": Work.WAITS,
        "epoch": 1,
        "input": {},
        "job_input": {},
    }
    names = Claim.__dataclass_fields__
    return Claim(**{name: known.get(name) for name in names})


@pytest.fixture
def believed() -> UUID:
    return uuid7()


@pytest.fixture
def watch(believed: UUID) -> Watch:
    made = Watch()
    made.believe(believed)
    return made


def anything(_: Running) -> bool:
    return True


def test_whoever_takes_a_step_settles_it_and_nobody_else(watch: Watch, believed: UUID) -> None:
    with watch.over(claim_by(believed), 60) as running:
        assert watch.take(anything) == [running]
        assert watch.take(anything) == []
        assert not watch.finish(running)


def test_a_result_in_hand_is_not_taken_away(watch: Watch, believed: UUID) -> None:
    with watch.over(claim_by(believed), 0.0) as running:
        assert watch.finish(running)
        assert watch.take_overdue() == []
        assert watch.take(anything) == []


def test_only_what_is_wanted_is_taken(watch: Watch, believed: UUID) -> None:
    with watch.over(claim_by(believed), 60) as running:
        assert watch.take(lambda step: step is not running) == []
        assert watch.finish(running), "its thread still settles it"


def test_in_a_name_that_is_believed_a_call_is_made(watch: Watch, believed: UUID) -> None:
    with watch.over(claim_by(believed), 60):
        assert watch.to_stop() == []
        assert stoppably(sum, [1, 2]) == 3


def test_in_any_other_name_no_call_is_begun(watch: Watch, believed: UUID) -> None:
    watch.doubt()
    made: list[int] = []
    with watch.over(claim_by(believed), 60), pytest.raises(Stopped, match="alive"):
        stoppably(made.append, 1)
    assert made == []


def test_of_many_names_one_may_be_doubted(watch: Watch, believed: UUID) -> None:
    other = uuid7()
    watch.believe(other)
    with watch.over(claim_by(believed), 60), watch.over(claim_by(other), 60) as running:
        watch.doubt(other)
        assert [step for step, _ in watch.to_stop()] == [running]
        watch.doubt()
        assert len(watch.to_stop()) == 2

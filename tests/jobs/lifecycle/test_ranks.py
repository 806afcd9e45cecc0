"""Ranks: who goes first at a gate that has little room."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from jobs.lifecycle.gateway import SOON_LATE_S, rank_of
from store.states import JobClass, Origin, StepKind, Work
from store.transitions import Claim

HELD = Claim(
    tenant_id=UUID(int=1),
    job_id=UUID(int=2),
    seq=2,
    worker_id=UUID(int=3),
    kind=StepKind.MODEL,
    name="model",
    work=Work.WAITS,
    epoch=1,
    attempts=0,
    losses=0,
    input=None,
    parent_seq=None,
    parent_output=None,
    agent="analyst",
    agent_version="1",
    model=None,
    job_class="default",
    origin=Origin.API,
    job_input={},
)


@pytest.mark.parametrize(
    ("job_class", "has_begun", "left_s", "rank"),
    [
        (JobClass.INTERACTIVE, True, None, 0),
        (JobClass.INTERACTIVE, False, 1.0, 1),
        (JobClass.DEFAULT, True, None, 2),
        (JobClass.DEFAULT, True, SOON_LATE_S + 1, 2),
        (JobClass.DEFAULT, True, SOON_LATE_S - 1, 1),
        (JobClass.DEFAULT, False, SOON_LATE_S - 1, 3),
        (JobClass.BATCH, True, SOON_LATE_S - 1, 1),
        (JobClass.BACKGROUND, False, None, 7),
        (JobClass.INTERACTIVE, True, 1.0, 0),
    ],
)
def test_class_then_what_goes_on_but_what_is_soon_late_is_as_urgent_as_any(
    job_class: JobClass,
    has_begun: bool,
    left_s: float | None,
    rank: int,
) -> None:
    held = replace(
        HELD,
        job_class=job_class.value,
        parent_seq=1 if has_begun else None,
        deadline_in_s=left_s,
    )
    assert rank_of(held) == rank

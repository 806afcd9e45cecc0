"""Passage: what a call took, and whether that says something about the other side."""

from __future__ import annotations

from time import perf_counter

import pytest

from broker.gates import Answer, Pass
from jobs.lifecycle.passage import Passage

GRANTED = Pass("crm", "job:1", Answer.GO, total_s=4.0)


def begun(ago_s: float, late_s: float, **bounds: float) -> Passage:
    """A call that was made so long ago, by a process that was late for so long since."""
    lateness = iter([7.0])
    passage = Passage(GRANTED, **bounds, late_s=lambda: next(lateness, 7.0 + late_s))
    passage.begin()
    passage.began_at = perf_counter() - ago_s
    return passage


def test_the_time_of_a_call_that_a_late_process_made_tells_nothing() -> None:
    assert begun(10.0, late_s=1.9).tells(10.0)
    assert not begun(10.0, late_s=2.1).tells(10.0)
    assert begun(10.0, late_s=0.1).tells(1.0), "a first token came when it came"
    assert not begun(10.0, late_s=0.1).tells(0.1)
    assert not begun(10.0, late_s=0.0).tells(None)


@pytest.mark.parametrize(
    ("lasts_s", "haste_s", "late_s", "is_theirs"),
    [(10.0, 60.0, 0.0, True), (10.0, 60.0, 5.0, False), (3.0, 3.0, 0.0, False)],
    ids=["it is slow", "we are late", "the job had no time"],
)
def test_that_it_takes_long_is_not_always_the_other_sides_doing(
    lasts_s: float, haste_s: float, late_s: float, is_theirs: bool
) -> None:
    assert begun(lasts_s, late_s, timeout_s=60.0, haste_s=haste_s).is_theirs is is_theirs

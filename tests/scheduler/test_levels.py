"""Levels: a queue that stands raises them, one that comes and goes does not, and they come down."""

from __future__ import annotations

from dataclasses import replace

from scheduler.levels import LEVEL_MAX, Standing, is_crowded, judge, least_wait_s
from store.rows import ClassLoad
from store.states import JobClass

NOTHING = ClassLoad(JobClass.DEFAULT, 0, None, 0, 0, 0, 0, 0, None, None, 0)
CLASSES = {each: replace(NOTHING, job_class=each) for each in JobClass}


def judged(waits_s: list[float], start: Standing | None = None) -> list[int]:
    """The levels after intervals of these least waits."""
    now, levels = start or Standing(), []
    for wait_s in waits_s:
        now = judge(now, wait_s, is_crowded=True, target_s=1.0)
        levels.append(now.level)
    return levels


def with_class(job_class: JobClass, **seen: object) -> dict[JobClass, ClassLoad]:
    return CLASSES | {job_class: replace(CLASSES[job_class], **seen)}


def test_a_standing_queue_raises_the_level_step_by_step_to_the_last() -> None:
    assert judged([1.1, 5.0, 9.0, 9.0]) == [1, 2, 3, LEVEL_MAX]


def test_two_calm_intervals_in_a_row_lower_it_by_one() -> None:
    assert judged([0.4, 0.4, 0.4, 0.4], Standing(2)) == [2, 1, 1, 0]


def test_in_between_nothing_moves_and_calm_begins_anew() -> None:
    assert judged([0.4, 0.7, 0.4, 0.4], Standing(2)) == [2, 2, 2, 1]
    assert judged([0.9, 1.0]) == [0, 0]


def test_a_queue_shorter_than_the_slots_raises_nothing_and_lowers_nothing() -> None:
    kept = judge(Standing(1, 1), 9.0, is_crowded=False, target_s=1.0)
    assert kept == Standing(1, 0)


def test_the_luckiest_start_of_the_urgent_classes_counts() -> None:
    default = with_class(JobClass.DEFAULT, waiting=9, wait_min_s=4.0, oldest_s=8.0)
    assert least_wait_s(default) == 4.0
    both = default | {
        JobClass.INTERACTIVE: replace(CLASSES[JobClass.INTERACTIVE], waiting=1, wait_min_s=0.2)
    }
    assert least_wait_s(both) == 0.2


def test_where_nothing_starts_the_first_in_line_counts() -> None:
    assert least_wait_s(with_class(JobClass.DEFAULT, waiting=9, oldest_s=8.0)) == 8.0


def test_a_queue_that_has_gone_stands_no_more() -> None:
    assert least_wait_s(with_class(JobClass.DEFAULT, wait_min_s=4.0)) == 0.0
    assert least_wait_s(CLASSES) == 0.0


def test_batch_may_stand_as_long_as_it_likes() -> None:
    assert least_wait_s(with_class(JobClass.BATCH, waiting=900, oldest_s=800.0)) == 0.0


def test_it_is_crowded_when_more_waits_than_live_slots_take_up() -> None:
    waiting = with_class(JobClass.DEFAULT, waiting=9)
    assert is_crowded(waiting, 8)
    assert not is_crowded(waiting, 9)
    assert not is_crowded(waiting, 0), "nobody works: that is no overload"

"""Shares: lanes stay shallow, the urgent comes first, and nobody starves."""

from __future__ import annotations

from scheduler.shares import Division, Shares
from store.load import Capacity
from store.states import JobClass, Work

WAITS = Work.WAITS
BATCH, DEFAULT = (JobClass.BATCH, WAITS), (JobClass.DEFAULT, WAITS)
INTERACTIVE, BACKGROUND = (JobClass.INTERACTIVE, WAITS), (JobClass.BACKGROUND, WAITS)


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def divide(shares: Shares, slots: int, **more: object) -> Division:
    running = more.pop("running", {})
    told: dict[str, object] = {"depths": {}, "level": 0, "depth_max": 400} | more
    return shares.divide(Capacity({WAITS: slots}, running), **told)  # type: ignore[arg-type]


def test_lanes_get_what_is_free_and_a_little_ahead() -> None:
    assert divide(Shares(0.5), 8).most[WAITS] == 12
    assert divide(Shares(0.5), 8, running={DEFAULT: 8}).most[WAITS] == 4
    assert divide(Shares(0.5), 8, running={DEFAULT: 8}, depths={DEFAULT: 3}).most[WAITS] == 2


def test_no_lane_holds_more_than_it_may() -> None:
    found = divide(Shares(), 1000, depth_max=10, depths={DEFAULT: 4})
    assert (found.room[DEFAULT], found.room[BATCH]) == (6, 10)


def test_where_no_worker_is_alive_lanes_are_filled_for_whoever_comes() -> None:
    found = divide(Shares(), 0, depth_max=10, depths={DEFAULT: 4})
    assert (found.room[DEFAULT], found.most[WAITS]) == (6, 36)


def test_short_steps_find_more_ahead() -> None:
    shares = Shares(0.5)
    divide(shares, 2, running={DEFAULT: 2})
    shares.remember({}, {WAITS: 20})
    assert divide(shares, 2, running={DEFAULT: 2}).most[WAITS] == 30, "all 20 were taken"
    shares.remember({}, {WAITS: 30})
    slow = divide(shares, 2, running={DEFAULT: 2}, depths={DEFAULT: 28})
    assert slow.most[WAITS] == 2, "only what is guaranteed is left"


def test_each_class_is_guaranteed_its_share_of_the_slots() -> None:
    found = divide(Shares(), 100, running={INTERACTIVE: 100}, depths={INTERACTIVE: 50})
    assert [found.first[each] for each in (INTERACTIVE, DEFAULT, BATCH, BACKGROUND)] == [
        0,
        10,
        5,
        5,
    ]
    assert found.most[WAITS] == 20, "it is given although nothing else has room"
    some = divide(Shares(), 100, running={BATCH: 3, INTERACTIVE: 97}, depths={BATCH: 1})
    assert some.first[BATCH] == 1


def test_a_share_smaller_than_a_slot_is_a_slot_for_a_part_of_the_time() -> None:
    time = Time()
    shares = Shares(clock=time)
    ran_s = passed_s = ends = 0.0
    running = 0
    for _ in range(4000):
        found = divide(shares, 8, running={BATCH: running, INTERACTIVE: 7})
        # Every step takes a second and a half.
        if running and time.now >= ends:
            running = 0
        elif not running and found.first[BATCH]:
            running, ends = 1, time.now + 1.5
        time.now += 0.25
        passed_s += 0.25
        ran_s += 0.25 * running
    assert 0.04 <= ran_s / (8 * passed_s) <= 0.06


def test_from_level_two_on_batch_has_its_share_and_no_more() -> None:
    normal = divide(Shares(), 100, level=1)
    assert normal.room[BATCH] == 400
    held = divide(Shares(), 100, level=2)
    assert held.room[BATCH] == held.first[BATCH] == 5
    assert held.room[DEFAULT] == 400

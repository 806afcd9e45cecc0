"""Catching up: which of the ticks that have come are fired, told without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler import catching_up
from scheduler.catching_up import plan_moves
from scheduler.timetable import Timetable
from store.schedules import Move
from store.states import CatchUp

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURLY = Timetable("UTC", START, every_s=3600)


def hour(n: float) -> datetime:
    return START + timedelta(hours=n)


def plan(
    now: datetime, catch_up: CatchUp, most: int = 100, table: Timetable = HOURLY
) -> list[Move]:
    return plan_moves(table, hour(1), now, catch_up, most)


def fired(moves: list[Move]) -> list[datetime]:
    return [move.tick_at for move in moves if not move.is_missed]


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_tick_that_is_on_time_is_fired_whatever_the_policy(catch_up: CatchUp) -> None:
    (move,) = plan(hour(1) + timedelta(seconds=59), catch_up)
    assert move == Move(hour(1), hour(1), hour(2), hour(2))


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_nothing_has_come_before_its_time(catch_up: CatchUp) -> None:
    assert plan(hour(1) - timedelta(seconds=1), catch_up) == []


def test_skip_misses_what_is_late() -> None:
    (missed,) = plan(hour(5.5), CatchUp.SKIP)
    assert missed == Move(hour(1), hour(5), hour(6), hour(6), missed=4, is_missed=True)


def test_skip_fires_the_last_one_when_that_is_not_late() -> None:
    missed, last = plan(hour(5), CatchUp.SKIP)
    assert (missed.tick_at, missed.missed, missed.next_tick_at) == (hour(4), 3, hour(5))
    assert last == Move(hour(5), hour(5), hour(6), hour(6))


def test_one_fires_the_last_for_all() -> None:
    missed, last = plan(hour(5.5), CatchUp.ONE)
    assert (missed.first, missed.tick_at, missed.missed) == (hour(1), hour(4), 3)
    assert last == Move(hour(5), hour(5), hour(6), hour(6))


def test_all_fires_every_one_the_oldest_first() -> None:
    moves = plan(hour(5.5), CatchUp.ALL)
    assert fired(moves) == [hour(n) for n in (1, 2, 3, 4, 5)]
    assert [move.next_tick_at for move in moves] == [hour(n) for n in (2, 3, 4, 5, 6)]


def test_all_is_bounded_to_the_last_ones() -> None:
    missed, *others = plan(hour(5.5), CatchUp.ALL, most=2)
    assert (missed.tick_at, missed.missed, missed.next_tick_at) == (hour(3), 2, hour(4))
    assert fired(others) == [hour(4), hour(5)]


def test_a_round_fires_a_bounded_number_and_leaves_the_rest_to_the_next() -> None:
    moves = plan(hour(500), CatchUp.ALL, most=1_000)
    assert fired(moves) == [hour(n) for n in range(1, 101)]
    assert moves[-1].next_tick_at == hour(101)


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_whatever_a_round_looks_at_the_outcome_is_the_same(
    catch_up: CatchUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = hour(40)
    monkeypatch.setattr(catching_up, "FIRES_MAX", 1_000)
    whole = plan(now, catch_up, most=5)
    monkeypatch.setattr(catching_up, "LOOK_MAX", 7)
    monkeypatch.setattr(catching_up, "FIRES_MAX", 3)
    first: datetime | None = hour(1)
    pieces: list[Move] = []
    while first is not None and first <= now:
        moves = plan_moves(HOURLY, first, now, catch_up, 5)
        assert moves, "a round that goes nowhere would be walked for ever"
        assert moves[0].first == first
        pieces += moves
        first = moves[-1].next_tick_at
    assert fired(pieces) == fired(whole)
    assert sum(m.missed + m.is_missed for m in pieces) == sum(m.missed + m.is_missed for m in whole)


def test_once_has_nothing_after_it() -> None:
    once = Timetable("UTC", START, once_at=hour(1))
    assert plan(hour(1), CatchUp.ALL, table=once) == [Move(hour(1), hour(1), None, None)]


def test_a_tick_is_not_late_before_its_jitter_has_passed() -> None:
    table = Timetable("UTC", START, every_s=3600, jitter_s=1800.0)
    due_at = table.due_at(hour(1))
    assert due_at > hour(1)
    assert plan(due_at - timedelta(seconds=1), CatchUp.SKIP, table=table) == []
    assert fired(plan(due_at + timedelta(seconds=50), CatchUp.SKIP, table=table)) == [hour(1)]


def test_a_next_run_that_was_moved_counts_as_the_first() -> None:
    moved = hour(1) + timedelta(minutes=20)
    (move,) = plan_moves(HOURLY, moved, moved, CatchUp.ONE, 1)
    assert (move.tick_at, move.next_tick_at) == (moved, hour(2))


@pytest.mark.parametrize("moved", [0.5, 2.5])
def test_after_a_run_that_was_moved_the_rhythm_goes_on_without_the_tick_it_replaced(
    moved: float,
) -> None:
    table = replace(HOURLY, replaced_at=hour(2))
    (move,) = plan_moves(table, hour(moved), hour(moved), CatchUp.ALL, 100)
    assert (move.tick_at, move.next_tick_at) == (hour(moved), hour(3))


def test_ticks_that_are_caught_up_with_leave_out_the_one_that_was_replaced() -> None:
    table = replace(HOURLY, replaced_at=hour(2))
    moves = plan_moves(table, hour(0.5), hour(4.5), CatchUp.ALL, 100)
    assert fired(moves) == [hour(0.5), hour(3), hour(4)]

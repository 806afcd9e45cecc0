"""The tally on histories made by hand, where every figure can be told by counting fingers."""

from __future__ import annotations

import math

import pytest

from tests.overload import tally
from tests.overload.history import Answer, Fate, History, Wired
from tests.overload.provider import CRM, MODEL
from tests.overload.tally import Stretch
from tests.overload.trace import CHAT, DIGEST, NOISY, Ask, Kind

T0 = 1_000.0
FIRST_TEN = Stretch(0.0, 10.0)
SHORT = Kind("short", "default", 1, 1.0)


def fate(
    number: int,
    at_s: float,
    *,
    kind: Kind = CHAT,
    tenant: str = "ada",
    status: str | None = "completed",
    took_s: float | None = 1.0,
    answers: tuple[int, ...] = (202,),
) -> Fate:
    """An ask at its moment of the trace, what it was answered, and how it ended."""
    told = [
        Answer(T0 + at_s + n, code, None if code == 202 else 1.0 + n)
        for n, code in enumerate(answers)
    ]
    ended_at = None if took_s is None or status is None else told[-1].at + took_s
    return Fate(Ask(number, at_s, tenant, kind), told, status, ended_at)


def refused(number: int, at_s: float, **more: object) -> Fate:
    return fate(number, at_s, status=None, took_s=None, answers=(503,), **more)  # type: ignore[arg-type]


def call(of: Fate, began_s: float, took_s: float, n: int = 1, **more: object) -> Wired:
    """A model call of a job that had a machine for so long."""
    began = T0 + began_s
    told = {"place": MODEL, "status": 200, "at": began, "began_at": began}
    told |= {"ended_at": began + took_s}
    return Wired(token=of.ask.token, call=n, **told | more)  # type: ignore[arg-type]


def history(*fates: Fate, wired: tuple[Wired, ...] = (), closed_s: float = 100.0) -> History:
    return History("ours", T0, T0 + closed_s, list(fates), list(wired))


# --- asks ---------------------------------------------------------------------------------------


def test_in_deadline_is_what_was_completed_in_time_of_what_was_asked_for() -> None:
    in_time, late = fate(1, 0.0), fate(2, 0.0, took_s=CHAT.deadline_s + 0.1)
    expired = fate(3, 0.0, status="expired", took_s=2.5)
    seen = history(in_time, late, expired, refused(4, 0.0))
    assert tally.share_in_deadline(seen, seen.fates) == 0.25


def test_a_job_on_its_way_is_judged_only_once_it_is_too_late() -> None:
    under_way = fate(1, 0.0, status="running", took_s=None)
    early, late = history(under_way, closed_s=2.0), history(under_way, closed_s=3.0)
    assert math.isnan(tally.share_in_deadline(early, early.fates))
    assert tally.share_in_deadline(late, late.fates) == 0.0


def test_the_deadline_counts_from_when_it_was_asked_for_the_last_time() -> None:
    came_back = fate(1, 0.0, answers=(503, 503, 202), took_s=CHAT.deadline_s - 0.1)
    assert came_back.is_admitted
    assert came_back.is_in_deadline
    assert came_back.took_s == pytest.approx(CHAT.deadline_s - 0.1)


def test_shares_are_told_by_group() -> None:
    seen = history(fate(1, 0.0), fate(2, 0.0, tenant=NOISY), refused(3, 0.0, tenant=NOISY))
    shares = tally.shares_by(seen, seen.fates, tally.is_others)
    assert shares == {True: 1.0, False: 0.5}


def test_every_ask_is_counted_once() -> None:
    fates = [
        fate(1, 0.0),
        fate(2, 0.0, took_s=9.0),
        fate(3, 0.0, status="expired"),
        fate(4, 0.0, status="failed"),
        fate(5, 0.0, status="running", took_s=None),
        refused(6, 0.0),
    ]
    counted = tally.count_fates(fates)
    assert counted == {"asked": 6, "refused": 1, "met": 1, "late": 2, "failed": 1, "open": 1}


# --- machine time -------------------------------------------------------------------------------


def test_goodput_is_the_machine_time_of_jobs_in_time_within_the_stretch() -> None:
    good, bad = fate(1, 0.0, took_s=2.0), fate(2, 0.0, took_s=9.0)
    wired = (call(good, 9.0, 2.0), call(bad, 1.0, 4.0))
    seen = history(good, bad, wired=wired)
    # One of the two seconds lies behind the stretch; two machines have twenty seconds in it.
    assert tally.goodput(seen, FIRST_TEN, at_once=2) == pytest.approx(1.0 / 20.0)


def test_waste_is_the_machine_time_of_jobs_that_were_late() -> None:
    good, bad = fate(1, 0.0), fate(2, 0.0, took_s=9.0)
    seen = history(good, bad, wired=(call(good, 0.0, 1.0), call(bad, 1.0, 3.0)))
    assert tally.wasted(seen, FIRST_TEN) == pytest.approx(0.75)


def test_work_on_a_job_that_may_still_be_in_time_is_neither_good_nor_wasted() -> None:
    good, under_way = fate(1, 0.0), fate(2, 0.0, kind=DIGEST, status="running", took_s=None)
    wired = (call(good, 0.0, 1.0), call(under_way, 0.0, 5.0))
    seen = history(good, under_way, wired=wired, closed_s=10.0)
    assert tally.wasted(seen, FIRST_TEN) == 0.0


def test_a_call_that_never_had_a_machine_took_none_of_its_time() -> None:
    one = fate(1, 0.0)
    failed = call(one, 0.0, 1.0, began_at=0.0, status=500)
    seen = history(one, wired=(failed, call(one, 2.0, 1.0, place=CRM)))
    assert tally.seconds_on_machines(seen, seen.wired, FIRST_TEN) == 0.0


def test_the_share_of_a_class_is_what_its_jobs_got_in_time_or_not() -> None:
    batch, other = fate(1, 0.0, kind=DIGEST, took_s=99.0), fate(2, 0.0)
    seen = history(batch, other, wired=(call(batch, 1.0, 2.0), call(other, 1.0, 5.0)))
    assert tally.share_of_class(seen, "batch", FIRST_TEN, at_once=2) == pytest.approx(0.1)


def test_the_longest_gap_of_a_class_has_the_edges_of_the_stretch_in_it() -> None:
    batch, other = fate(1, 0.0, kind=DIGEST), fate(2, 0.0)
    wired = (call(batch, 1.0, 0.1), call(batch, 4.0, 0.1, 2), call(other, 7.0, 0.1))
    seen = history(batch, other, wired=wired)
    assert tally.longest_gap_s(seen, "batch", FIRST_TEN) == pytest.approx(6.0)
    assert tally.longest_gap_s(seen, "background", FIRST_TEN) == pytest.approx(10.0)


# --- the wire -----------------------------------------------------------------------------------


def test_amplification_is_requests_for_each_call_that_was_sent() -> None:
    one, two, waiting = fate(1, 0.0), fate(2, 0.0), fate(3, 1.0)
    wired = (call(one, 0.0, 0.1), call(one, 1.0, 0.1), call(one, 2.0, 0.1), call(two, 0.0, 0.1))
    seen = history(one, two, waiting, wired=wired)
    assert tally.amplification(seen, FIRST_TEN) == pytest.approx(4 / 2)
    assert tally.requests_per_wish(seen, FIRST_TEN) == pytest.approx(4 / 3)


def test_the_second_call_of_a_job_is_no_repetition_of_the_first() -> None:
    one = fate(1, 0.0, kind=DIGEST)
    seen = history(one, wired=tuple(call(one, float(n), 0.1, n) for n in (1, 2, 3)))
    assert tally.amplification(seen, FIRST_TEN) == 1.0


def test_what_was_refused_is_no_wish() -> None:
    seen = history(fate(1, 0.0), refused(2, 0.0), wired=(call(fate(1, 0.0), 0.0, 0.1),))
    assert tally.requests_per_wish(seen, FIRST_TEN) == 1.0


def test_requests_are_counted_where_they_came_in() -> None:
    one = fate(1, 0.0)
    seen = history(one, wired=tuple(call(one, at_s, 0.1) for at_s in (0.1, 0.2, 4.5)))
    assert tally.requests_over_time(seen, 2.0) == [(1.0, 1.0), (3.0, 0.0), (5.0, 0.5)]


# --- recovery -----------------------------------------------------------------------------------


def test_recovery_is_when_asks_are_met_again_for_a_while() -> None:
    """Ten asks a second; those of the first three seconds after the trouble are late."""
    fates = [
        fate(n, n / 10, kind=SHORT, took_s=9.0 if 10.0 <= n / 10 < 13.0 else 0.5)
        for n in range(300)
    ]
    found = tally.recovery_s(history(*fates), 10.0)
    # Two and a half late asks of fifty are as many as five in a hundred.
    assert found == 3.0


def test_there_is_no_recovery_while_a_tenth_is_late() -> None:
    fates = [fate(n, n / 10, kind=SHORT, took_s=9.0 if n % 10 == 0 else 0.5) for n in range(300)]
    assert tally.recovery_s(history(*fates), 10.0) is None


def test_recovery_takes_no_time_where_nothing_was_wrong() -> None:
    fates = [fate(n, n / 10, kind=SHORT, took_s=0.5) for n in range(200)]
    assert tally.recovery_s(history(*fates), 10.0) == 0.0


# --- coming back --------------------------------------------------------------------------------


def test_only_first_returns_count() -> None:
    at_once, second = fate(1, 0.0, answers=(503, 202)), fate(2, 0.0, answers=(503, 503, 202))
    assert tally.first_returns([at_once, second, fate(3, 0.0), refused(4, 0.0)]) == [True, False]


def test_a_constant_is_its_own_commonest_value() -> None:
    assert tally.told_to_wait([fate(1, 0.0, answers=(503, 503, 202))]) == [1.0, 2.0]
    assert tally.commonest_share([2.0, 2.0, 2.0]) == 1.0
    assert tally.commonest_share([1.0, 2.0, 2.0, 4.0]) == 0.5
    assert math.isnan(tally.commonest_share([]))


@pytest.mark.parametrize(("p", "found"), [(0, 1.0), (50, 2.5), (99, 3.97), (100, 4.0)])
def test_percentiles_lie_between_neighbours(p: float, found: float) -> None:
    assert tally.percentile([4.0, 1.0, 3.0, 2.0], p) == pytest.approx(found)
    assert math.isnan(tally.percentile([], p))

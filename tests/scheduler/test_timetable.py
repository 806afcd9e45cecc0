"""Timetables: by wall clocks that jump twice a year, held against croniter and every minute.

croniter is another program by other people. Where it says otherwise, the row says why:

    ONCE    at a time that comes twice it ticks twice; a fixed time of ours ticks the first time
    GAP     it moves a running time out of the gap; ours does not tick, as no clock shows it
    STAR    it takes `*/2` of a month and a weekday as either, as cron does without a star only
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.timetable import NoTimetable, Timetable

SAME, ONCE, GAP, STAR = "same", "once", "gap", "star"
LOOKED_AT = 8

CASES = [
    # New York, spring: 02:00 becomes 03:00 on March 8
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("0 2 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("0 3 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("59 1 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("0,30 2 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("15 2,3 * * *", "America/New_York", "2026-03-07T12:00", SAME),
    ("*/15 * * * *", "America/New_York", "2026-03-08T06:30", SAME),
    ("*/15 2 * * *", "America/New_York", "2026-03-07T12:00", GAP),
    ("0 * * * *", "America/New_York", "2026-03-08T05:30", SAME),
    # New York, autumn: 01:00 to 02:00 comes twice on November 1
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ONCE),
    ("30 1 * * *", "America/New_York", "2026-11-01T05:45", ONCE),
    ("45 1 * * *", "America/New_York", "2026-11-01T06:30", ONCE),
    ("*/30 * * * *", "America/New_York", "2026-11-01T04:20", SAME),
    ("*/30 * * * *", "America/New_York", "2026-11-01T05:30", SAME),
    ("*/30 * * * *", "America/New_York", "2026-11-01T06:00", SAME),
    ("0 * * * *", "America/New_York", "2026-11-01T04:20", SAME),
    ("0 0 * * *", "America/New_York", "2026-10-31T12:00", SAME),
    # Berlin and London change at other hours
    ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00", SAME),
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ONCE),
    ("*/20 * * * *", "Europe/Berlin", "2026-10-25T00:10", SAME),
    ("*/20 2 * * *", "Europe/Berlin", "2026-10-24T12:00", SAME),
    ("0 9 * * 1-5", "Europe/Berlin", "2026-10-22T12:00", SAME),
    ("30 1 * * *", "Europe/London", "2027-03-27T12:00", SAME),
    ("30 1 * * *", "Europe/London", "2026-10-24T12:00", ONCE),
    # Lord Howe changes by half an hour
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00", SAME),
    ("*/30 3 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", SAME),
    ("45 1 * * *", "Australia/Lord_Howe", "2027-04-03T02:00", ONCE),
    ("*/15 * * * *", "Australia/Lord_Howe", "2027-04-03T14:25", SAME),
    ("0 * * * *", "Australia/Lord_Howe", "2027-04-03T13:25", SAME),
    ("0 * * * *", "Australia/Lord_Howe", "2026-10-03T13:40", SAME),
    # Troll changes by two hours
    ("30 1 * * *", "Antarctica/Troll", "2027-03-27T12:00", SAME),
    ("30 1 * * *", "Antarctica/Troll", "2026-10-24T12:00", ONCE),
    # zones of half and quarter hours, and without daylight saving
    ("30 9 * * *", "Asia/Kolkata", "2026-02-27T00:00", SAME),
    ("0 0 * * *", "Asia/Kathmandu", "2026-12-30T00:00", SAME),
    ("45 23 31 12 *", "Asia/Kathmandu", "2026-01-01T00:00", SAME),
    ("0 8 * * *", "Asia/Tokyo", "2026-03-07T12:00", SAME),
    ("*/40 * * * *", "Asia/Tokyo", "2026-03-07T12:00", SAME),
    # midnight itself is skipped, or comes twice
    ("0 0 * * *", "America/Havana", "2026-03-07T12:00", SAME),
    ("0 0 * * *", "Africa/Cairo", "2026-04-22T12:00", SAME),
    ("0 0 * * *", "Asia/Beirut", "2026-03-27T12:00", SAME),
    ("30 23 * * *", "Africa/Cairo", "2026-10-28T12:00", ONCE),
    ("30 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00", SAME),
    ("30 23 * * *", "America/Sao_Paulo", "2018-02-16T12:00", ONCE),
    # a change for Ramadan; a day that there was not
    ("30 2 * * *", "Africa/Casablanca", "2026-02-13T12:00", ONCE),
    ("30 2 * * *", "Pacific/Apia", "2011-12-28T12:00", SAME),
    # leap days, ends of months and years
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00", SAME),
    ("0 0 29 2 *", "America/New_York", "2096-01-01T00:00", SAME),
    ("0 12 28-31 * *", "UTC", "2027-01-30T00:00", SAME),
    ("0 0 31 * *", "Europe/Paris", "2027-01-01T00:00", SAME),
    ("0 0 L * *", "Europe/Paris", "2028-01-31T12:00", SAME),
    ("0 0 1 1 *", "Pacific/Auckland", "2026-06-01T00:00", SAME),
    ("59 23 31 12 *", "Pacific/Kiritimati", "2026-06-01T00:00", SAME),
    # days of month and week
    ("0 0 13 * 5", "UTC", "2026-01-01T00:00", SAME),
    ("0 0 */2 * 1", "UTC", "2026-01-01T00:00", STAR),
    ("0 0 * * MON#1", "UTC", "2026-01-01T00:00", SAME),
    ("0 0 * * 7", "UTC", "2026-01-01T00:00", SAME),
    ("0 0 * JAN-MAR SUN", "UTC", "2026-01-01T00:00", SAME),
    ("5/20 * * * *", "UTC", "2026-01-01T00:00", SAME),
]


def utc(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC)


def ours(cron: str, zone: str, after: datetime, count: int = LOOKED_AT) -> list[datetime]:
    return list(islice(Timetable(zone, after, cron=cron).after(after), count))


def theirs(cron: str, zone: str, after: datetime) -> list[datetime]:
    walk = croniter(cron, after.astimezone(ZoneInfo(zone)))
    return [walk.get_next(datetime).astimezone(UTC) for _ in range(LOOKED_AT)]


def shown(moments: list[datetime], zone: str) -> list[str]:
    return [each.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z") for each in moments]


@pytest.mark.parametrize(("cron", "zone", "stamp", "difference"), CASES)
def test_ticks_are_those_of_another_program_or_differ_for_the_reason_given(
    cron: str, zone: str, stamp: str, difference: str
) -> None:
    after = utc(stamp)
    mine, other = ours(cron, zone, after), theirs(cron, zone, after)
    more = sorted(set(other) - set(mine))
    last = min(mine[-1], other[-1])
    assert not [each for each in mine if each not in other and each <= last]
    match difference:
        case "same":
            assert shown(mine, zone) == shown(other, zone)
        case "once":
            (second,) = [each for each in more if each <= last]
            assert second.astimezone(ZoneInfo(zone)).fold == 1
        case "gap":
            (moved,) = [each for each in more if each <= last]
            minute, hour, *_ = cron.split()
            assert moved.astimezone(ZoneInfo(zone)).hour != int(hour)
            assert minute.startswith("*")
        case "star":
            assert all(each.weekday() == 0 and each.day % 2 == 1 for each in mine)
            assert more


def test_the_cases_are_many_and_of_every_kind() -> None:
    assert len(CASES) >= 40
    assert {case[3] for case in CASES} == {SAME, ONCE, GAP, STAR}


@pytest.mark.parametrize(
    ("cron", "zone", "stamp", "expected"),
    [
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00",
            ["03-08 03:00 -0400", "03-09 02:30 -0400"],
        ),
        (
            "0,30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00",
            ["03-08 03:00 -0400", "03-09 02:00 -0400"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00",
            ["11-01 01:30 -0400", "11-02 01:30 -0500"],
        ),
        (
            "*/30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00",
            ["11-01 01:00 -0400", "11-01 01:30 -0400", "11-01 01:00 -0500", "11-01 01:30 -0500"],
        ),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00",
            ["10-04 02:30 +1100", "10-05 02:15 +1100"],
        ),
        (
            "30 12 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00",
            ["12-29 12:30 -1000", "12-31 00:00 +1400", "12-31 12:30 +1400"],
        ),
    ],
)
def test_what_happens_when_clocks_jump(
    cron: str, zone: str, stamp: str, expected: list[str]
) -> None:
    assert shown(ours(cron, zone, utc(stamp), len(expected)), zone) == expected


# Moments around which a clock somewhere jumps.
JUMPS = [
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Australia/Lord_Howe", "2027-04-03T15:00"),
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Africa/Cairo", "2026-10-29T21:00"),
    ("Asia/Beirut", "2026-03-28T22:00"),
    ("Asia/Kathmandu", "2026-10-25T01:00"),
]


@settings(max_examples=80, deadline=None)
@given(
    jump=st.sampled_from(JUMPS),
    before_min=st.integers(-30, 600),
    step=st.sampled_from([1, 5, 7, 15, 30, 40]),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=24),
)
def test_a_running_time_ticks_at_every_minute_whose_clock_fits_and_no_other(
    jump: tuple[str, str], before_min: int, step: int, hours: set[int]
) -> None:
    zone, stamp = jump
    after = utc(stamp) - timedelta(minutes=before_min)
    minutes = [after + timedelta(minutes=n) for n in range(1, 14 * 60)]
    clocks = [(each, each.astimezone(ZoneInfo(zone))) for each in minutes]
    expected = [m for m, clock in clocks if clock.minute % step == 0 and clock.hour in hours]
    cron = f"*/{step} {','.join(map(str, sorted(hours)))} * * *"
    assert ours(cron, zone, after, len(expected)) == expected


@settings(max_examples=80, deadline=None)
@given(
    jump=st.sampled_from(JUMPS),
    before_min=st.integers(-200, 2_000),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
)
def test_a_daily_run_comes_once_every_day_whatever_the_clocks_do(
    jump: tuple[str, str], before_min: int, minute: int, hour: int
) -> None:
    zone, stamp = jump
    after = utc(stamp) - timedelta(minutes=before_min)
    days = [
        each.astimezone(ZoneInfo(zone)).date()
        for each in ours(f"{minute} {hour} * * *", zone, after)
    ]
    assert all(later - day == timedelta(days=1) for day, later in pairwise(days))


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/7 * * * *", "0 0 L * *", "15 2,3 * * 1-5"])
@pytest.mark.parametrize(("zone", "stamp"), JUMPS)
def test_it_is_the_same_whether_walked_or_asked_from_tick_to_tick(
    cron: str, zone: str, stamp: str
) -> None:
    after = utc(stamp) - timedelta(hours=12)
    walked = ours(cron, zone, after, 150)
    timetable, asked = Timetable(zone, after, cron=cron), [after]
    for _ in walked:
        following = timetable.next_after(asked[-1])
        assert following is not None
        asked.append(following)
    assert asked[1:] == walked


def test_an_interval_counts_seconds_and_knows_no_clocks() -> None:
    starts_at = utc("2026-03-08T06:59:30")
    timetable = Timetable("America/New_York", starts_at, every_s=45)
    ticks = list(islice(timetable.after(starts_at + timedelta(seconds=45)), 3))
    assert ticks == [starts_at + timedelta(seconds=45 * n) for n in (2, 3, 4)]
    assert timetable.next_after(starts_at - timedelta(days=1)) == starts_at + timedelta(seconds=45)


def test_once_is_once() -> None:
    at = utc("2027-01-31T08:00:00")
    timetable = Timetable("UTC", utc("2026-01-01T00:00:00"), once_at=at)
    assert list(timetable.after(at - timedelta(seconds=1))) == [at]
    assert timetable.next_after(at) is None


def test_a_jitter_is_later_within_its_bound_and_the_same_for_everybody() -> None:
    def schedule(seed: int) -> Timetable:
        at = utc("2026-01-01T00:00:00")
        return Timetable("UTC", at, every_s=60, jitter_s=30.0, seed=UUID(int=seed))

    one, twin, other = schedule(1), schedule(1), schedule(2)
    ticks = list(islice(one.after(one.starts_at), 50))
    put_off_s = [(one.due_at(each) - each).total_seconds() for each in ticks]
    assert all(0 <= each < 30 for each in put_off_s)
    assert len(set(put_off_s)) > 40
    assert [twin.due_at(each) for each in ticks] == [one.due_at(each) for each in ticks]
    assert [other.due_at(each) for each in ticks] != [one.due_at(each) for each in ticks]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * *", "has 4 fields"),
        ("*/10 * * * * *", "has 6 fields"),
        ("@daily", "has 1 fields"),
        ("61 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("a b c d e", "bad minute"),
    ],
)
def test_what_is_no_cron_expression_is_said_as_such(cron: str, words: str) -> None:
    with pytest.raises(NoTimetable, match=words) as refused:
        Timetable("UTC", utc("2026-01-01T00:00"), cron=cron)
    assert refused.value.field == "cron"


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ("Berlin", "'Europe/Berlin'"),
        ("Europe/Berln", "'Europe/Berlin'"),
        ("", "It looks like"),
        ("../../etc/passwd", "It looks like"),
        ("/etc/localtime", "It looks like"),
        ("localtime", "It looks like"),
        ("right/Europe/Berlin", "'Europe/Berlin'"),
        ("Z" * 300, "It looks like"),
    ],
)
def test_what_is_no_zone_is_said_as_such_with_what_was_meant(zone: str, meant: str) -> None:
    with pytest.raises(NoTimetable, match="is no time zone") as refused:
        Timetable(zone, utc("2026-01-01T00:00"), every_s=60)
    assert meant in str(refused.value)
    assert refused.value.field == "zone"

"""What if a dependency were slower: who waits, who holds slots, and who would notice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gate_states import GateState, Minute, Standing
from broker.what_if import Outlook, foresee, replay, slots_needed


def gate(name: str, calls: Sequence[float], took_s: float, limit: int = 16) -> GateState:
    """A gate with so many calls in each of the last minutes, the newest last."""
    minutes = tuple(
        Minute(ago, calls=number, firsts=number, ok=number, busy_s=number * took_s)
        for ago, number in enumerate(reversed(calls))
        if number
    )
    return GateState(name, Standing.OPEN, "", 0.0, limit, 0, 0, None, None, None, None, minutes)


CRM = gate("crm", [60, 120, 60], took_s=1.0)
MAIL = gate("mail", [30], took_s=2.0)


def ask(factor: float, *, slots: int = 100, crm: GateState = CRM, **others: GateState) -> Outlook:
    found = foresee("crm", factor, [crm, *others.values()], slots)
    assert found is not None
    return found


def test_a_gate_that_is_not_there_has_no_answer() -> None:
    assert foresee("nobody", 10, [CRM], 100) is None


def test_calls_at_once_are_their_rate_times_their_time() -> None:
    assert slots_needed(CRM) == pytest.approx(2.0)
    assert ask(5).slots_wanted == pytest.approx(10.0)


def test_no_more_slots_are_held_than_the_limit() -> None:
    seen = ask(3, crm=gate("crm", [600], took_s=1.0))
    assert (seen.slots_wanted, seen.slots_held) == (pytest.approx(30.0), 16)


def test_nor_more_than_are_out_when_half_of_them_are_overdue() -> None:
    """In three times the usual time six begin; when they are overdue, six more have followed."""
    assert ask(1000).slots_held == pytest.approx(12.0)
    assert ask(1000, crm=gate("crm", [6], took_s=1.0)).slots_held == pytest.approx(8.0)


def test_nobody_else_notices_while_enough_is_left() -> None:
    seen = ask(1000, mail=MAIL)
    (mail,) = seen.others
    assert (mail.slots_needed, mail.times_as_long) == (1.0, 1.0)
    assert seen.sentences[-1] == (
        "Its calls would hold 12 of 100 slots; all others need 1.0 at their busiest, so nobody "
        "else would notice."
    )


def test_others_share_what_is_left_when_it_is_too_little() -> None:
    seen = ask(1000, slots=16, mail=gate("mail", [600], took_s=0.8))
    (mail,) = seen.others
    assert mail.times_as_long == pytest.approx(2.0)
    assert "calls to mail would take about 2.0 times as long" in seen.sentences[-1]


def test_nothing_else_goes_when_the_limit_is_above_all_slots() -> None:
    seen = ask(1000, slots=10, mail=MAIL)
    assert seen.others[0].times_as_long is None
    assert "nothing else would go: mail" in seen.sentences[-1]


def test_a_dependency_that_nobody_calls_does_not_notice_either() -> None:
    assert ask(1000, slots=10, mail=gate("mail", [], 1.0)).others[0].times_as_long == 1.0


def test_what_does_not_fit_a_minute_waits_for_the_next() -> None:
    # Sixteen at once, eight seconds each, are 120 a minute.
    minutes = gate("crm", [200, 200, 0, 100], 1.0).minutes
    backlog = replay(minutes, 16, 8.0)
    assert backlog.waiting == 160
    assert backlog.wait_s == pytest.approx(80.0)


def test_quiet_minutes_let_go_what_waited() -> None:
    together, apart = gate("crm", [500, 500], 1.0), gate("crm", [500, 0, 0, 0, 500], 1.0)
    assert replay(together.minutes, 16, 8.0).waiting == 760
    assert replay(apart.minutes, 16, 8.0).waiting == 400


def test_a_limit_that_is_low_already_does_not_sink() -> None:
    low = gate("crm", [60], 1.0, limit=2)
    assert [each.limit for each in ask(10, crm=low).backlogs] == [2]


def test_both_limits_are_told_when_it_would_sink() -> None:
    assert [each.limit for each in ask(2).backlogs] == [16]
    seen = ask(10)
    assert [each.limit for each in seen.backlogs] == [16, 4]
    assert seen.backlogs[1].waiting > seen.backlogs[0].waiting
    assert "none of them holds a worker" in " ".join(seen.sentences)


def test_only_a_crawl_is_told_to_shut_it() -> None:
    assert "crawl" not in " ".join(ask(4).sentences)
    assert "crawl" in " ".join(ask(5).sentences)


def test_where_nothing_was_called_there_is_nothing_to_replay() -> None:
    seen = ask(10, crm=gate("crm", [], 1.0))
    assert seen.sentences == (
        "No call to crm came back in the last hour, so there is nothing to replay.",
    )


def test_where_no_worker_lives_that_is_said() -> None:
    assert ask(10, slots=0).sentences[-1] == "No worker is alive, so nothing goes anyway."


HOURS = st.lists(st.integers(0, 5000), max_size=60)


@given(calls=HOURS, limit=st.integers(1, 200), took_s=st.floats(0.001, 1000))
def test_a_higher_limit_never_makes_more_wait(calls: list[int], limit: int, took_s: float) -> None:
    minutes = gate("crm", calls, 1.0).minutes
    few, many = replay(minutes, limit, took_s), replay(minutes, limit + 1, took_s)
    assert 0 <= many.waiting <= few.waiting <= sum(calls)
    assert many.wait_s <= few.wait_s


@given(calls=HOURS, factor=st.floats(0.01, 1000), slots=st.integers(0, 500))
def test_held_slots_are_within_every_bound(calls: list[int], factor: float, slots: int) -> None:
    seen = foresee("crm", factor, [gate("crm", calls, 1.0), MAIL], slots)
    assert seen is not None
    assert 0 <= seen.slots_held <= min(16, slots)
    assert all(sentence.endswith(".") for sentence in seen.sentences)

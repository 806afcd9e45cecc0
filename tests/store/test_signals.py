"""Signals: sent before, during or after the wait, each is consumed by exactly one wait, or kept."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from store import waits
from store.doors import Doors
from store.errors import NotFound
from store.states import JobStatus, StepState, WaitState
from store.transitions import Claim, Parked
from store.waits import Sent
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, Stepper, call, signal, timer


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def result_of(stepper: Stepper, job_id: UUID, seq: int = 1) -> object:
    """What the step was woken with; the step stays claimed."""
    woken = stepper.take(job_id, seq).woken
    assert woken is not None
    assert woken.state is WaitState.ANSWERED
    return woken.result


# --- before, during, after ------------------------------------------------------------------------


def test_a_signal_that_was_sent_before_the_wait_is_taken_by_it(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1)])
    assert stepper.send(job_id, {"sum": 1}) is Sent.ACCEPTED
    assert stepper.park(stepper.take(job_id), signal()) is Parked.WOKEN
    step = stepper.step(job_id)
    assert (step.state, step.worker_id, step.rung_at) == (StepState.READY, None, None)
    assert stepper.signals(job_id) == [({"sum": 1}, 1, 1)]
    assert stepper.story(job_id)[-2:] == ["step.waiting", "step.woken"]
    assert result_of(stepper, job_id) == {"sum": 1}
    stepper.check_books(job_id)


def test_a_signal_that_is_sent_during_the_wait_wakes_it(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal())
    assert stepper.send(job_id, {"sum": 2}) is Sent.ACCEPTED
    assert stepper.states(job_id) == [StepState.READY]
    assert stepper.job(job_id).status_reason is None
    assert stepper.signals(job_id) == [({"sum": 2}, 1, 1)]
    assert result_of(stepper, job_id) == {"sum": 2}
    stepper.check_books(job_id)


def test_a_signal_that_comes_after_the_wait_is_kept_for_the_next(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal(wake_in_s=60))
    stepper.come_due(job_id)
    stepper.wake()
    assert stepper.send(job_id, "late") is Sent.ACCEPTED
    assert stepper.signals(job_id) == [("late", None, None)]
    held = stepper.take(job_id)
    assert held.woken is not None
    assert (held.woken.state, held.woken.result) == (WaitState.EXPIRED, None)
    stepper.commit(held, plan=(MODEL,))
    assert stepper.park(stepper.take(job_id, 2), signal()) is Parked.WOKEN
    assert result_of(stepper, job_id, 2) == "late"
    stepper.check_books(job_id)


def test_a_signal_without_a_payload_wakes_too(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal())
    assert stepper.send(job_id) is Sent.ACCEPTED
    assert result_of(stepper, job_id) is None


def test_a_signal_only_ends_a_wait_for_its_name(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    stepper.send(job_id, 0, name="refunded")
    assert stepper.park(stepper.take(job_id, 1), signal("paid")) is Parked.PARKED
    stepper.park(stepper.take(job_id, 2), timer())
    stepper.send(job_id, 1, name="refunded")
    stepper.send(job_id, 2, name="sleep")
    assert stepper.states(job_id) == [StepState.WAITING] * 2
    stepper.send(job_id, 3, name="paid")
    assert stepper.states(job_id) == [StepState.READY, StepState.WAITING]
    assert [taken for _, taken, _ in stepper.signals(job_id)] == [None, None, None, 1]
    stepper.check_books(job_id)


def test_signals_are_taken_in_the_order_in_which_they_were_sent(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1)])
    for n in range(4):
        stepper.send(job_id, n)
    seen = []
    for seq in range(1, 5):
        assert stepper.park(stepper.take(job_id, seq), signal()) is Parked.WOKEN
        held = stepper.take(job_id, seq)
        assert held.woken is not None
        seen.append(held.woken.result)
        stepper.commit(held, plan=(MODEL,))
    assert seen == [0, 1, 2, 3]
    assert stepper.park(stepper.take(job_id, 5), signal()) is Parked.PARKED
    stepper.check_books(job_id)


def test_waits_are_answered_in_the_order_in_which_they_began(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(n) for n in range(3)])
    for seq in (2, 3, 1):
        stepper.park(stepper.take(job_id, seq), signal())
    for n, expected in enumerate([2, 3, 1]):
        stepper.send(job_id, n)
        assert stepper.signals(job_id)[n] == (n, expected, 1)
    stepper.check_books(job_id)


def test_a_taken_signal_stays_with_its_step_when_the_worker_dies(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal())
    stepper.send(job_id, "once")
    worker = stepper.start_worker()
    stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    assert result_of(stepper, job_id) == "once"
    assert stepper.signals(job_id) == [("once", 1, 1)]


# --- the same key, the end, the bound, the wall ---------------------------------------------------


def test_the_same_key_is_the_same_signal_also_when_it_was_taken_and_after_the_end(
    stepper: Stepper,
) -> None:
    job_id = stepper.put_down([call(1)])
    assert stepper.send(job_id, 1, key="a") is Sent.ACCEPTED
    assert stepper.send(job_id, 2, key="a") is Sent.DUPLICATE
    stepper.park(stepper.take(job_id), signal())
    assert stepper.send(job_id, 3, key="a") is Sent.DUPLICATE
    stepper.commit(stepper.take(job_id), ending=COMPLETED)
    assert stepper.send(job_id, 4, key="a") is Sent.DUPLICATE
    assert stepper.signals(job_id) == [(1, 1, 1)]


def test_a_key_is_a_jobs_own(stepper: Stepper) -> None:
    one, other = stepper.put_down(), stepper.put_down()
    assert stepper.send(one, key="a") is Sent.ACCEPTED
    assert stepper.send(other, key="a") is Sent.ACCEPTED


def test_the_same_key_from_many_threads_is_accepted_once(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal())
    sent = at_once([lambda n=n: stepper.send(job_id, n, key="a") for n in range(8)])
    assert sorted(sent) == [Sent.ACCEPTED] + [Sent.DUPLICATE] * 7
    assert stepper.signals(job_id) == [(sent.index(Sent.ACCEPTED), 1, 1)]


def test_a_job_that_is_over_takes_no_signal(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(signal())
    assert stepper.cancel(job_id).status is JobStatus.CANCELLED
    before = stepper.dump()
    assert stepper.send(job_id, key="a") is Sent.ENDED
    assert stepper.dump() == before


def test_only_so_many_signals_lie_unread(stepper: Stepper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SIGNALS_UNREAD_MAX", 2)
    job_id = stepper.put_down([call(1)])
    assert [stepper.send(job_id, n, key=str(n)) for n in range(3)] == [
        Sent.ACCEPTED, Sent.ACCEPTED, Sent.FULL,
    ]  # fmt: skip
    assert stepper.send(job_id, 0, key="0") is Sent.DUPLICATE
    stepper.park(stepper.take(job_id), signal())
    assert stepper.send(job_id, 2, key="2") is Sent.ACCEPTED, "one was read"


def test_nobody_sends_a_signal_to_a_job_that_is_not_there_or_not_theirs(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    job_id = stepper.put_to_sleep(signal())
    before = stepper.dump()
    with pytest.raises(NotFound):
        stepper.send(uuid4())
    with pytest.raises(NotFound):
        Stepper(doors, other_tenant).send(job_id)
    assert stepper.dump() == before


def test_a_signal_for_two_waits_and_two_for_one_are_refused_by_the_database(
    stepper: Stepper, doors: Doors
) -> None:
    job_id = stepper.put_down([call(1)])
    for n in range(2):
        stepper.send(job_id, n)
    both = "update stepwell.signals set consumed_seq = 1, consumed_n = 1, consumed_at = now()"
    with pytest.raises(IntegrityError, match="one_signal_per_wait"), doors.as_operator("t") as tx:
        tx.execute(text(both))


# --- races ----------------------------------------------------------------------------------------


def test_a_send_that_races_the_park_is_never_lost(stepper: Stepper) -> None:
    for n in range(20):
        job_id = stepper.put_down([call(1)])
        held = stepper.take(job_id)
        parked, sent = at_once(
            [lambda h=held: stepper.park(h, signal()), lambda j=job_id, n=n: stepper.send(j, n)]
        )
        assert sent is Sent.ACCEPTED
        assert parked in (Parked.PARKED, Parked.WOKEN)
        assert stepper.states(job_id) == [StepState.READY]
        assert stepper.signals(job_id) == [(n, 1, 1)]
        assert stepper.story(job_id).count("step.woken") == 1
        stepper.check_books(job_id)


@pytest.mark.parametrize(("waiting", "sending"), [(6, 6), (7, 4), (4, 7)])
def test_in_a_race_of_sends_and_parks_each_signal_is_taken_once_and_none_is_lost(
    stepper: Stepper, waiting: int, sending: int
) -> None:
    job_id = stepper.put_down([call(n) for n in range(waiting)])
    held = [stepper.take(job_id, seq) for seq in range(1, waiting + 1)]

    def send(n: int) -> list[Sent]:
        # The same one twice, as whoever got no answer would.
        return [stepper.send(job_id, n, key=str(n)) for _ in range(2)]

    parks = [lambda h=h: stepper.park(h, signal()) for h in held]
    done = at_once(parks + [lambda n=n: send(n) for n in range(sending)])
    assert done[waiting:] == [[Sent.ACCEPTED, Sent.DUPLICATE]] * sending

    taken = [(seq, payload) for payload, seq, _ in stepper.signals(job_id) if seq is not None]
    assert len(taken) == min(waiting, sending), "nobody waits while a signal lies unread"
    assert len(dict(taken)) == len(taken), "no wait takes two"
    ready = [step.seq for step in stepper.steps(job_id) if step.state is StepState.READY]
    assert ready == sorted(dict(taken))
    for seq, payload in taken:
        assert result_of(stepper, job_id, seq) == payload
    stepper.check_books(job_id)


def test_a_send_that_races_the_expiry_is_taken_or_kept(stepper: Stepper) -> None:
    for n in range(12):
        job_id = stepper.put_to_sleep(signal(wake_in_s=60))
        stepper.come_due(job_id)
        _, woken = at_once([lambda j=job_id, n=n: stepper.send(j, n), stepper.wake])
        state = stepper.wait(job_id).state
        assert (state, woken) in ((WaitState.ANSWERED, 0), (WaitState.EXPIRED, 1))
        kept = (n, 1, 1) if state is WaitState.ANSWERED else (n, None, None)
        assert stepper.signals(job_id) == [kept]
        stepper.check_books(job_id)


def test_a_send_that_races_the_end_is_taken_refused_or_left_with_the_dead(
    stepper: Stepper,
) -> None:
    for n in range(12):
        job_id = stepper.put_down([call(1), call(2)])
        stepper.park(stepper.take(job_id, 1), signal())
        ending: Claim = stepper.take(job_id, 2)
        sent, _ = at_once(
            [
                lambda j=job_id, n=n: stepper.send(j, n),
                lambda h=ending: stepper.commit(h, ending=COMPLETED),
            ]
        )
        assert stepper.states(job_id) == [StepState.CANCELLED, StepState.COMMITTED]
        assert len(stepper.signals(job_id)) == (sent is Sent.ACCEPTED)
        stepper.check_books(job_id)

"""Effects: begun once under the fence, and never made a second time without somebody's word."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest

from jobs.lifecycle import effects
from jobs.lifecycle.attempt import claim, run_or_give_up
from jobs.policy.fingerprints import sha256_of
from store import jobs
from store.forks import Forked
from store.rows import CheckpointRow, JobRow, WaitRow
from store.states import JobStatus, StepState, WaitKind
from tests.housing import (
    Household,
    Impatient,
    answer,
    decide,
    hand_of,
    lose_worker,
    pending,
    replay,
    tool_steps,
)
from tests.programs import as_input
from tests.running import eventually

RECORDED = "It was begun, and what came of it was never recorded."


@pytest.fixture
def household(household: Household) -> Household:
    household.house.draw = Impatient()
    return household


def world(ledger: Path, says: str, about: str = "world") -> None:
    """How the world takes the payments from here on."""
    ledger.with_name(f"say-{about}").write_text(says)


def lines(ledger: Path, begins: str = "pay") -> list[str]:
    told = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in told if line.startswith(begins)]


def submit(household: Household, tool: str, **args: Any) -> UUID:
    """A job whose first call, step 2, is planned and not answered yet."""
    call = (tool, args or {"amount": 7})
    job_id = household.viewer.submit("payer", as_input([call]))
    household.run_step(job_id)
    return job_id


def step_of(household: Household, job_id: UUID, seq: int = 2) -> CheckpointRow:
    return household.viewer.steps(job_id)[seq - 1]


def finish(household: Household, job_id: UUID, says: str = "done: paid 7") -> JobRow:
    job = household.run(job_id)
    assert (job.status, job.output) == (JobStatus.COMPLETED, says)
    hand_of(household.viewer).check_books(job_id)
    return job


def ask(household: Household, job_id: UUID) -> WaitRow:
    """Run the job until it asks what came of a call."""
    (asked,) = household.run_until_parked(job_id)
    assert asked.kind is WaitKind.RECONCILE
    return asked


# --- the mark -------------------------------------------------------------------------------------


def test_an_effect_is_marked_before_it_is_made_and_a_look_never_is(
    household: Household, ledger: Path
) -> None:
    world(ledger, "hold")
    paying, looking = submit(household, "pay"), submit(household, "peek", gate="pay")
    for job_id, word in ((paying, "pay"), (looking, "peek")):
        household.answer(household.viewer.tenant_id, job_id, 2)
        eventually(lambda word=word: lines(ledger, word))
    assert step_of(household, paying).effect_epoch == 1
    assert step_of(household, paying).effect_started_at is not None
    assert step_of(household, looking).effect_epoch is None
    ledger.with_name("gate-pay").touch()
    finish(household, paying)
    finish(household, looking, "done: seen")


def test_a_worker_lost_before_the_mark_costs_nothing_but_time(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, "pay")
    lose_worker(household.viewer, job_id, 2, begun=False)
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]
    assert hand_of(household.viewer).waits(job_id) == []


def test_a_call_whose_start_cannot_be_written_is_not_made_and_is_no_question(
    household: Household, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(household, "pay")
    with monkeypatch.context() as outage:
        outage.setattr(effects, "patiently", lambda *_: None)
        household.run_step(job_id, 2)
    step = step_of(household, job_id)
    assert (step.state, step.attempts, lines(ledger)) == (StepState.READY, 1, [])
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


@pytest.mark.parametrize("agent", ["payer", "till"])
def test_a_job_that_is_cancelled_before_the_mark_does_not_begin_the_effect(
    household: Household, ledger: Path, agent: str
) -> None:
    viewer = household.viewer
    given = as_input([("pay", {"amount": 7})]) if agent == "payer" else {}
    job_id = viewer.submit(agent, given)
    household.run_step(job_id)
    held = claim(viewer.tenant_id, job_id, 2, household.house)
    assert held is not None
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        jobs.request_cancel(tx, job_id)
    run_or_give_up(held, household.house, perf_counter())
    assert viewer.job(job_id).status is JobStatus.CANCELLED
    assert step_of(household, job_id).effect_epoch is None
    assert lines(ledger) == []
    hand_of(viewer).check_books(job_id)


# --- a worker lost after the mark -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "lookup"),
    [
        ("pay_once", ""),
        ("pay_once_traced", ""),
        ("pay_once_traced", "raise"),
        ("pay_once_traced", "nonsense"),
    ],
)
def test_a_call_with_a_key_is_made_again_under_the_same_key(
    household: Household, ledger: Path, tool: str, lookup: str
) -> None:
    world(ledger, lookup, "lookup")
    job_id = submit(household, tool)
    lose_worker(household.viewer, job_id, 2, begun=True)
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]
    assert len(lines(ledger, "look")) == (tool == "pay_once_traced")
    assert step_of(household, job_id).effect_epoch == 2


def test_a_call_without_a_key_is_asked_about_and_the_question_shows_all_of_it(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, "pay", amount={"eur": 7})
    lose_worker(household.viewer, job_id, 2, begun=True)
    asked = ask(household, job_id)
    args = {"amount": {"eur": 7}}
    assert asked.prompt == {
        "ask": "Did this call happen?",
        "reason": RECORDED,
        "tool": "pay",
        "args": args,
        "args_sha256": sha256_of(args),
        "key": f"{job_id}:2",
        "decisions": ["happened", "again", "fail"],
    }
    job = household.viewer.job(job_id)
    assert (job.status, job.waiting_for) == (JobStatus.INPUT_REQUIRED, "reconcile")
    step = step_of(household, job_id)
    assert (step.state, step.worker_id) == (StepState.WAITING, None)
    assert lines(ledger) == [], "the one thing that must not happen"


@pytest.mark.parametrize("tool", ["pay_traced", "pay_once_traced"])
def test_what_a_lookup_finds_is_the_result_and_the_call_is_not_made(
    household: Household, ledger: Path, tool: str
) -> None:
    world(ledger, "found", "lookup")
    job_id = submit(household, tool)
    lose_worker(household.viewer, job_id, 2, begun=True)
    finish(household, job_id, "done: paid before")
    assert (lines(ledger), lines(ledger, "look")) == ([], [f"look {job_id}:2"])


def test_a_call_that_a_lookup_does_not_find_is_made(household: Household, ledger: Path) -> None:
    job_id = submit(household, "pay_traced")
    lose_worker(household.viewer, job_id, 2, begun=True)
    finish(household, job_id)
    assert (lines(ledger), lines(ledger, "look")) == (
        [f"pay 7 {job_id}:2"],
        [f"look {job_id}:2"],
    )


@pytest.mark.parametrize(
    ("lookup", "says"),
    [
        ("raise", "The lookup failed: RuntimeError: the bank is closed"),
        ("nonsense", "The lookup failed: TypeError: it returned str, neither Found nor None"),
        ("unkeepable", "The lookup failed: Misdeclared"),
        ("exit", "The lookup failed: RuntimeError: it raised SystemExit"),
    ],
)
def test_a_lookup_that_cannot_tell_leaves_it_to_a_person(
    household: Household, ledger: Path, lookup: str, says: str
) -> None:
    world(ledger, lookup, "lookup")
    job_id = submit(household, "pay_traced")
    lose_worker(household.viewer, job_id, 2, begun=True)
    asked = ask(household, job_id)
    assert asked.prompt is not None
    assert asked.prompt["reason"].startswith(f"{RECORDED} {says}")
    assert lines(ledger) == []


def test_a_lookup_that_hangs_is_waited_for_only_so_long(
    household: Household, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "LOOKUP_TIMEOUT_S", 0.2)
    world(ledger, "hang", "lookup")
    job_id = submit(household, "pay_traced")
    lose_worker(household.viewer, job_id, 2, begun=True)
    asked = ask(household, job_id)
    ledger.with_name("gate-look").touch()
    assert asked.prompt is not None
    assert "The lookup failed: TimeoutError" in asked.prompt["reason"]


# --- calls that break under the hands of their worker ---------------------------------------------


@pytest.mark.parametrize("tool", ["pay", "pay_traced"])
@pytest.mark.parametrize("breaks", ["reset", "lose the store"])
def test_a_connection_that_broke_in_the_call_is_looked_up_or_asked_about(
    household: Household, ledger: Path, tool: str, breaks: str
) -> None:
    world(ledger, breaks)
    world(ledger, "raise", "lookup")
    job_id = submit(household, tool)
    asked = ask(household, job_id)
    assert asked.prompt is not None
    error = "ConnectionResetError" if breaks == "reset" else "Unreachable"
    assert asked.prompt["reason"].startswith(error)
    assert len(lines(ledger, "look")) == (tool == "pay_traced")
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_a_broken_call_that_a_lookup_finds_has_its_result(
    household: Household, ledger: Path
) -> None:
    world(ledger, "reset")
    world(ledger, "found", "lookup")
    job_id = submit(household, "pay_traced")
    finish(household, job_id, "done: paid before")
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_a_broken_call_that_a_lookup_does_not_find_is_tried_again(
    household: Household, ledger: Path
) -> None:
    world(ledger, "reset")
    job_id = submit(household, "pay_traced")
    household.run_step(job_id, 2)
    step = step_of(household, job_id)
    assert (step.state, step.attempts, step.effect_epoch) == (StepState.READY, 1, None)
    world(ledger, "")
    finish(household, job_id)
    assert len(lines(ledger)) == 2


def test_a_call_with_a_key_is_tried_again_when_its_connection_breaks(
    household: Household, ledger: Path
) -> None:
    world(ledger, "reset")
    job_id = submit(household, "pay_once")
    household.run_step(job_id, 2)
    world(ledger, "")
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"] * 2


def test_a_refused_connection_is_tried_again_and_leaves_no_doubt(
    household: Household, ledger: Path
) -> None:
    world(ledger, "refuse")
    job_id = submit(household, "pay")
    household.run_step(job_id, 2)
    step = step_of(household, job_id)
    assert (step.state, step.attempts, step.effect_epoch) == (StepState.READY, 1, None)
    world(ledger, "")
    lose_worker(household.viewer, job_id, 2, begun=False)
    finish(household, job_id)
    assert hand_of(household.viewer).waits(job_id) == []


def test_a_payment_that_raises_what_it_likes_is_told_to_the_model_and_not_repeated(
    household: Household, ledger: Path
) -> None:
    world(ledger, "reject")
    job_id = submit(household, "pay")
    finish(household, job_id, "done: The tool failed: ValueError: that is no amount")
    assert len(lines(ledger)) == 1


@pytest.mark.parametrize("lookup", ["", "raise"])
@pytest.mark.parametrize("tool", ["pay_in_haste", "pay_in_haste_traced"])
def test_a_call_that_hangs_is_asked_about_also_when_a_lookup_does_not_find_it_yet(
    household: Household, ledger: Path, tool: str, lookup: str
) -> None:
    world(ledger, "hold")
    world(ledger, lookup, "lookup")
    job_id = submit(household, tool)
    asked = ask_while_it_hangs(household, job_id)
    assert asked.prompt is not None
    assert "took longer than it may" in asked.prompt["reason"]
    # The thread that hangs comes back with a result, which nobody takes any more.
    ledger.with_name("gate-pay").touch()
    eventually(lambda: household.house.watch.count() == 0)
    assert pending(household.viewer, job_id) == [asked]
    decide(household.viewer, job_id, "happened", result="paid after all")
    finish(household, job_id, "done: paid after all")
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_a_call_that_hangs_and_is_found_by_a_lookup_has_its_result(
    household: Household, ledger: Path
) -> None:
    world(ledger, "hold")
    world(ledger, "found", "lookup")
    job_id = submit(household, "pay_in_haste_traced")
    job = household.run(job_id)
    ledger.with_name("gate-pay").touch()
    assert job.output == "done: paid before"


def test_a_hanging_call_whose_lookup_finds_nonsense_is_asked_about(
    household: Household, ledger: Path
) -> None:
    world(ledger, "hold")
    world(ledger, "unkeepable", "lookup")
    job_id = submit(household, "pay_in_haste_traced")
    ask_while_it_hangs(household, job_id)
    ledger.with_name("gate-pay").touch()


def ask_while_it_hangs(household: Household, job_id: UUID) -> WaitRow:
    household.run_until(lambda: household.viewer.job(job_id).waiting_for == "reconcile")
    (asked,) = pending(household.viewer, job_id)
    return asked


# --- answers --------------------------------------------------------------------------------------


def doubt(household: Household, tool: str = "pay") -> UUID:
    """A job that asks what came of its payment."""
    job_id = submit(household, tool)
    lose_worker(household.viewer, job_id, 2, begun=True)
    ask(household, job_id)
    return job_id


def test_what_happened_by_a_persons_word_is_what_the_model_sees(
    household: Household, ledger: Path
) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "happened", result={"receipt": 12})
    finish(household, job_id, "done: {'receipt': 12}")
    assert lines(ledger) == []
    (wait,) = hand_of(household.viewer).waits(job_id)
    assert wait.consumed_at is not None


def test_again_makes_the_call_once_more(household: Household, ledger: Path) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "again")
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_again_holds_for_whoever_comes_after_a_worker_lost_before_the_mark(
    household: Household, ledger: Path
) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "again")
    lose_worker(household.viewer, job_id, 2, begun=False)
    finish(household, job_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_again_is_used_up_by_the_call_and_its_loss_is_asked_about_again(
    household: Household, ledger: Path
) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "again")
    lose_worker(household.viewer, job_id, 2, begun=True)
    asked = ask(household, job_id)
    assert (asked.n, lines(ledger)) == (2, [])
    decide(household.viewer, job_id, "happened", result="paid twice over")
    finish(household, job_id, "done: paid twice over")


def test_fail_ends_the_job_with_a_dead_letter(household: Household, ledger: Path) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "fail")
    job = household.run(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "in_doubt")
    letter = hand_of(household.viewer).letter(job_id)
    assert (letter.error_class, letter.seq, letter.step_name) == ("in_doubt", 2, "tool.pay")
    assert lines(ledger) == []
    hand_of(household.viewer).check_books(job_id)


def test_an_answer_survives_workers_that_are_lost_with_it(
    household: Household, ledger: Path
) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "happened", result="paid by hand")
    for _ in range(2):
        lose_worker(household.viewer, job_id, 2, begun=False)
    finish(household, job_id, "done: paid by hand")
    assert lines(ledger) == []


# --- pipelines whose steps are tools --------------------------------------------------------------


def lose_payment(household: Household, agent: str, seq: int) -> UUID:
    job_id = household.viewer.submit(agent, {"amount": 9})
    for before in range(1, seq):
        household.run_step(job_id, before)
    lose_worker(household.viewer, job_id, seq, begun=True)
    return job_id


@pytest.mark.parametrize(("agent", "seq", "args"), [("till", 2, 7), ("advance", 1, {"amount": 9})])
def test_a_pipelines_payment_is_asked_about_with_what_it_was_given(
    household: Household, ledger: Path, agent: str, seq: int, args: Any
) -> None:
    job_id = lose_payment(household, agent, seq)
    asked = ask(household, job_id)
    assert asked.prompt is not None
    assert (asked.prompt["tool"], asked.prompt["args"]) == ("pay", args)
    assert lines(ledger) == []


def test_what_happened_is_the_value_that_the_pipeline_goes_on_with(
    household: Household, ledger: Path
) -> None:
    job_id = lose_payment(household, "till", 2)
    ask(household, job_id)
    decide(household.viewer, job_id, "happened", result="receipt")
    finish(household, job_id, "receipt")
    assert lines(ledger) == []


def test_a_pipelines_payment_is_made_again_by_a_persons_word_or_given_up(
    household: Household, ledger: Path
) -> None:
    again, given_up = (lose_payment(household, "till", 2) for _ in range(2))
    for job_id, decision in ((again, "again"), (given_up, "fail")):
        ask(household, job_id)
        decide(household.viewer, job_id, decision)
    finish(household, again, "paid 7")
    assert household.run(given_up).status_reason == "in_doubt"
    assert lines(ledger) == [f"pay 7 {again}:2"]


def test_a_pipelines_payment_that_a_lookup_finds_is_not_made(
    household: Household, ledger: Path
) -> None:
    world(ledger, "found", "lookup")
    finish(household, lose_payment(household, "traced_till", 2), "paid before")
    assert lines(ledger) == []


def test_a_pipelines_payment_with_a_broken_connection_is_asked_about(
    household: Household, ledger: Path
) -> None:
    world(ledger, "reset")
    job_id = household.viewer.submit("till", {})
    asked = ask(household, job_id)
    assert asked.prompt is not None
    assert asked.prompt["reason"].startswith("ConnectionResetError")
    assert len(lines(ledger)) == 1


# --- poison ---------------------------------------------------------------------------------------


def test_a_step_that_takes_down_every_worker_becomes_a_dead_letter(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, "pay_once")
    for _ in range(5):
        lose_worker(household.viewer, job_id, 2, begun=True)
    assert household.run(job_id).status is JobStatus.FAILED
    letter = hand_of(household.viewer).letter(job_id)
    assert (letter.error_class, letter.seq) == ("poison", 2)
    assert letter.hint
    assert lines(ledger) == []


# --- dead letters, replayed -----------------------------------------------------------------------


def test_a_replay_goes_on_from_the_failed_call_under_the_same_key(
    household: Household, ledger: Path
) -> None:
    world(ledger, "refuse")
    job_id = household.viewer.submit(
        "payer", as_input([("pay_once", {"amount": 1})], [("pay_once_traced", {"amount": 2})])
    )
    world(ledger, "")
    household.run_until(lambda: len(household.viewer.steps(job_id)) == 4)
    world(ledger, "refuse")
    assert household.run(job_id).status_reason == "not_sent"
    assert hand_of(household.viewer).letter(job_id).seq == 4
    world(ledger, "")
    again = replay(household.viewer, job_id)
    job = finish(household, again, "done: paid 2")
    assert (job.forked_from, job.forked_from_seq) == (job_id, 4)
    assert lines(ledger, "pay 1") == [f"pay 1 {job_id}:2"]
    assert set(lines(ledger, "pay 2")) == {f"pay 2 {job_id}:4"}
    shared = [tool_steps(household.viewer, each)[0].output for each in (job_id, again)]
    assert shared[0] == shared[1] == {"outcome": "success", "content": "paid 1"}


def test_the_replay_of_a_call_in_doubt_asks_again_and_does_not_call(
    household: Household, ledger: Path
) -> None:
    job_id = doubt(household)
    decide(household.viewer, job_id, "fail")
    household.run(job_id)
    again = replay(household.viewer, job_id)
    asked = ask(household, again)
    assert asked.prompt is not None
    assert asked.prompt["key"] == f"{job_id}:2"
    assert lines(ledger) == []
    answer(household.viewer, again, {"decision": "again"})
    finish(household, again)
    assert lines(ledger) == [f"pay 7 {job_id}:2"]


def test_the_replay_of_a_call_that_certainly_did_not_happen_makes_it(
    household: Household, ledger: Path
) -> None:
    world(ledger, "refuse")
    job_id = submit(household, "pay")
    assert household.run(job_id).status_reason == "not_sent"
    world(ledger, "")
    again = replay(household.viewer, job_id)
    household.run_until(lambda: household.viewer.steps(again)[1].state is not StepState.READY)
    assert hand_of(household.viewer).waits(again) == []
    finish(household, again)


# --- forks ----------------------------------------------------------------------------------------


def fork(household: Household, job_id: UUID, from_seq: int, **more: Any) -> UUID:
    made, new_id = hand_of(household.viewer).fork(job_id, from_seq, **more)
    assert made is Forked.MADE
    return new_id


def test_a_fork_goes_on_from_the_middle_of_a_conversation_with_another_input(
    household: Household, ledger: Path
) -> None:
    turns = [[("pay_once", {"amount": n})] for n in (1, 2, 3)]
    job_id = household.viewer.submit("payer", as_input(*turns))
    finish(household, job_id, "done: paid 3")
    otherwise = as_input(*turns[:2], [("pay_once", {"amount": 4})], answer="now")
    new_id = fork(household, job_id, 5, input=otherwise)
    job = finish(household, new_id, "now: paid 4")
    assert (job.forked_from, job.forked_from_seq, job.input) == (job_id, 5, otherwise)
    old, new = household.viewer.steps(job_id), household.viewer.steps(new_id)
    assert [step.output for step in new[:4]] == [step.output for step in old[:4]]
    assert lines(ledger) == [
        f"pay 1 {job_id}:2",
        f"pay 2 {job_id}:4",
        f"pay 3 {job_id}:6",
        f"pay 4 {new_id}:6",
    ]


def test_a_fork_from_a_call_makes_it_anew_under_a_key_of_its_own(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, "pay")
    finish(household, job_id)
    new_id = fork(household, job_id, 2)
    finish(household, new_id)
    assert lines(ledger) == [f"pay 7 {job_id}:2", f"pay 7 {new_id}:2"]
    assert hand_of(household.viewer).waits(new_id) == [], "nothing is in doubt about a new call"

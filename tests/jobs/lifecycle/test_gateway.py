"""Calls through gates: real calls over HTTP, real gates in Redis, and steps that have to wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from pydantic_ai.models.function import FunctionModel
from redis import Redis
from sqlalchemy import select

from broker.gate_states import GateState, key_of
from broker.gates import Came, Gates, Pass
from jobs import Agent, Limits
from jobs.agent.model import Models, Patience, dependency_of_model, patience_with
from jobs.lifecycle import gateway
from jobs.settings import Settings
from store import letters
from store.letters import LetterFilter
from store.rows import CheckpointRow, JobRow
from store.schema import dead_letters
from store.states import JobStatus, LetterState, StepState, WaitState
from tests.housing import Household, Impatient, hand_of, tool_steps
from tests.jobs.lifecycle.conftest import OpenHouse
from tests.programs import as_input, follow_script
from tests.provider import RATE_LIMITED, Provider, Refuses, Says
from tests.provider.refusals import Refusing, refusing
from tests.running import eventually

CALLERS = "tests.jobs.lifecycle.callers"


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    """The server outside; what it answers is set by the test."""
    with refusing(200) as server:
        monkeypatch.setenv("TEST_CRM_URL", server.url)
        yield server


@pytest.fixture
def programs() -> str:
    return CALLERS


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A model provider, whose answers are set by the test."""
    with Provider(lambda asked: SAYS.pop(0)) as provider:
        yield provider


SAYS: list[Any] = []


@pytest.fixture
def household(open_house: OpenHouse, crm: Refusing, provider: Provider) -> Household:
    opened = open_house(model_base_url=provider.base_url, model_api_key=SecretStr("k"))
    opened.house.draw = Impatient()
    return opened


@pytest.fixture
def gates(household: Household) -> Gates:
    return household.house.gates


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def state_of(gates: Gates, dependency: str = "crm") -> GateState:
    (found,) = [each for each in gates.look() if each.dependency == dependency]
    return found


def counted(gates: Gates, what: str, dependency: str = "crm") -> float:
    """What the gate has counted in these minutes."""
    return sum(getattr(each, what) for each in state_of(gates, dependency).minutes)


def learn(gates: Gates, dependency: str, first_s: float, total_s: float) -> None:
    """As if the dependency had always taken so long."""
    for n in range(30):
        held = gates.enter(dependency, f"earlier {n}", lease_s=5)
        gates.leave(held, Came.OK, first_s=first_s, total_s=total_s)


def shut(gates: Gates, for_s: float, dependency: str = "crm") -> None:
    """As if somebody's call had been told to slow down."""
    held = gates.enter(dependency, "somebody", lease_s=5)
    gates.leave(held, Came.RATE_LIMITED, retry_after_s=for_s)


def submit(household: Household, *tools: str, **more: Any) -> UUID:
    script = as_input(*[[(name, {})] for name in tools])
    return household.viewer.submit("crm_agent", script, **more)


def call_of(household: Household, job_id: UUID) -> CheckpointRow:
    (step,) = tool_steps(household.viewer, job_id)
    return step


def run_until_waiting(household: Household, job_id: UUID) -> JobRow:
    """Until the job's step has been sent back from a gate."""

    def is_waiting() -> bool:
        household.answer_rings()
        return household.viewer.job(job_id).status_reason == "dependency"

    eventually(is_waiting)
    eventually(lambda: not household.house.watch.is_busy)
    return household.viewer.job(job_id)


def letter_of(household: Household, job_id: UUID) -> dict[str, Any]:
    with household.viewer.desk.doors.as_tenant(household.viewer.tenant_id) as tx:
        found = tx.execute(select(dead_letters).where(dead_letters.c.job_id == job_id)).one()
        return dict(found._mapping)


# --- through the gate -----------------------------------------------------------------------------


def test_a_call_goes_through_an_open_gate_and_tells_it_how_it_came_out(
    household: Household, crm: Refusing, gates: Gates
) -> None:
    job = household.run(submit(household, "look"))
    assert job.output == "done: look done"
    assert crm.asked == ["/look"]
    assert [counted(gates, what) for what in ("calls", "firsts", "ok")] == [1, 1, 1]
    state = state_of(gates)
    assert state.in_flight == 0
    assert state.total is not None
    assert 0 < state.total.p50_s < 5


@pytest.mark.parametrize("name", ["say_no", "trip"])
def test_what_is_nobody_elses_fault_says_nothing_about_the_dependency(
    household: Household, gates: Gates, name: str
) -> None:
    assert household.run(submit(household, name)).status is JobStatus.COMPLETED
    assert [counted(gates, what) for what in ("calls", "ok", "failed")] == [1, 0, 0]
    assert state_of(gates).in_flight == 0


def test_arguments_that_do_not_fit_are_no_call_of_the_dependency(
    household: Household, gates: Gates
) -> None:
    job_id = household.viewer.submit("crm_agent", as_input([("look", {"who": 1})]))
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert (counted(gates, "ok"), counted(gates, "failed")) == (0, 0)
    assert (state_of(gates).in_flight, state_of(gates).total) == (0, None)


@pytest.mark.parametrize("name", ["hang", "hang_softly"])
def test_a_call_that_hangs_is_told_to_the_gate_as_timed_out(
    household: Household, gates: Gates, redis: Redis, ledger: Path, name: str
) -> None:
    assert household.run(submit(household, name)).status is JobStatus.COMPLETED
    ledger.with_name("gate-hang").touch()
    eventually(lambda: state_of(gates).in_flight == 0)
    assert counted(gates, "failed") == 1
    stretch = redis.hget(key_of("state", "crm"), "stretch")
    assert float(stretch or 1) == 2, "it was a timeout"  # type: ignore[arg-type]


def test_a_call_that_hangs_in_a_process_that_is_late_itself_is_not_held_against_it(
    household: Household, gates: Gates, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(household.house.loop, "late_s", monotonic)
    assert household.run(submit(household, "hang_softly")).status is JobStatus.COMPLETED
    ledger.with_name("gate-hang").touch()
    eventually(lambda: state_of(gates).in_flight == 0)
    assert (counted(gates, "calls"), counted(gates, "failed")) == (1, 0)


def test_a_call_whose_thread_never_comes_back_is_told_to_the_gate_all_the_same(
    household: Household, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TEST_SILENT_PORT", str(silent.getsockname()[1]))
        job = household.run(submit(household, "hang_deaf"))
        assert job.status is JobStatus.COMPLETED
        assert household.house.watch.count() == 1, "its thread still hangs"
        assert counted(gates, "failed") == 1
        assert state_of(gates).in_flight == 0
    eventually(lambda: household.house.watch.count() == 0)
    assert counted(gates, "failed") == 1, "told once"


@pytest.mark.parametrize("usual_s", [None, 0.01])
def test_a_call_given_up_in_haste_counts_only_if_it_took_longer_than_usual(
    household: Household, gates: Gates, usual_s: float | None, ledger: Path
) -> None:
    if usual_s is not None:
        learn(gates, "crm", usual_s, usual_s)
    job = household.run(submit(household, "hang_for_long", deadline_s=2.8))
    assert job.status is JobStatus.EXPIRED
    ledger.with_name("gate-hang").touch()
    eventually(lambda: state_of(gates).in_flight == 0)
    assert counted(gates, "failed") == (0 if usual_s is None else 1)


def test_a_step_without_a_dependency_asks_no_gate(household: Household) -> None:
    household.house.gates.close()
    household.house.gates = None  # type: ignore[assignment]
    assert household.run(household.viewer.submit("plainly", {})).output == ["begun", "ended"]
    job_id = household.viewer.submit("crm_agent", as_input(), model=None)
    assert household.run(job_id).output == "done"
    household.house.gates = household.viewer.desk.gates


# --- before a gate that is shut -------------------------------------------------------------------


def test_before_a_shut_gate_a_step_goes_back_with_nothing_begun_and_no_try_lost(
    household: Household, gates: Gates, crm: Refusing
) -> None:
    shut(gates, 30.0)
    job_id = submit(household, "charge")
    job = run_until_waiting(household, job_id)
    assert job.status is JobStatus.QUEUED
    assert job.status_until is not None
    step = call_of(household, job_id)
    assert (step.state, step.attempts, step.losses) == (StepState.READY, 0, 0)
    assert (step.effect_epoch, step.worker_id) == (None, None)
    assert 20 < (step.ready_at - job.created_at).total_seconds() < 60
    assert step.error is not None
    assert "crm" in step.error["message"]
    assert crm.asked == []
    assert "step.retry_scheduled" not in [e.type for e in household.viewer.events(job_id)]


def test_when_the_gate_opens_the_step_goes_on(
    household: Household, gates: Gates, crm: Refusing
) -> None:
    shut(gates, 0.5)
    job = household.run(submit(household, "charge"))
    assert job.output == "done: charge done"
    assert crm.asked == ["/charge"]
    assert call_of(household, job.id).error is None
    household.viewer.check_history(job.id)


def enter(gates: Gates, number: int) -> Pass:
    return gates.enter("crm", f"other {number}", lease_s=60)


def test_a_full_gate_lets_the_step_come_back(
    household: Household, gates: Gates, crm: Refusing, redis: Redis
) -> None:
    inside = list(takewhile(lambda each: each.is_open, (enter(gates, n) for n in range(1000))))
    job_id = submit(household, "look")
    run_until_waiting(household, job_id)
    assert crm.asked == []
    for each in inside:
        gates.leave(each, Came.OK, total_s=0.1)
    assert household.run(job_id).status is JobStatus.COMPLETED


def test_a_wait_before_a_gate_ends_with_the_jobs_deadline(
    household: Household, gates: Gates
) -> None:
    shut(gates, 60.0)
    job_id = submit(household, "look", deadline_s=3.0)
    job = run_until_waiting(household, job_id)
    assert job.status_until is not None
    assert job.deadline_at is not None
    assert (job.status_until - job.deadline_at).total_seconds() < 1, "past its deadline is no time"
    job = household.run(job_id)
    assert job.status is JobStatus.EXPIRED
    assert job.finished_at is not None
    assert (job.finished_at - job.created_at).total_seconds() < 6


def test_a_call_that_the_deadline_cuts_off_ends_the_job_as_expired_also_without_budget(
    household: Household, gates: Gates
) -> None:
    for _ in range(5):
        gates.spend("crm", household.viewer.tenant_id)
    job = household.run(household.viewer.submit("softly", {}, deadline_s=0.4))
    assert (job.status, job.status_reason) == (JobStatus.EXPIRED, "deadline")


def test_a_step_that_has_waited_too_long_is_given_up_and_its_letter_names_the_dependency(
    household: Household, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(gates, 1.5)
    job_id = submit(household, "look")
    run_until_waiting(household, job_id)
    monkeypatch.setattr(gateway, "STEP_PATIENCE_S", -1.0)
    shut(gates, 60.0)
    job = household.run(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "unavailable")
    letter = letter_of(household, job_id)
    assert (letter["class"], letter["dependency"]) == ("unavailable", "crm")
    household.viewer.check_history(job_id)


# --- told to slow down ----------------------------------------------------------------------------


def test_a_429_is_one_request_a_shut_gate_and_a_letter_with_the_work_kept(
    household: Household, crm: Refusing
) -> None:
    first = submit(household, "look", "charge")
    household.run_until(lambda: crm.asked == ["/look"])
    crm.status, crm.headers = 429, {"Retry-After": "40"}
    job = household.run(first)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "rate_limited")
    letter = letter_of(household, first)
    assert (letter["class"], letter["dependency"]) == ("rate_limited", "crm")
    looked, _ = tool_steps(household.viewer, first)
    assert looked.output["content"] == "look done", "the work so far is kept"

    crm.status = 200
    second = submit(household, "look")
    job = run_until_waiting(household, second)
    assert crm.asked == ["/look", "/charge"], "nobody pressed"
    assert job.status_until is not None
    assert 35 < (job.status_until - job.created_at).total_seconds() < 60


def test_the_letters_of_a_dependency_that_is_well_again_are_replayed(
    household: Household, crm: Refusing
) -> None:
    crm.status, crm.headers = 429, {"Retry-After": "1"}
    job = household.run(submit(household, "look", "charge"))
    assert job.status is JobStatus.FAILED
    crm.status = 200
    of_others, of_crm = LetterFilter(dependency="mail"), LetterFilter(dependency="crm")
    with household.viewer.desk.doors.as_tenant(household.viewer.tenant_id) as tx:
        assert letters.list_newest(tx, of_others) == []
        assert [each.job_id for each in letters.list_newest(tx, of_crm)] == [job.id]
        how = {"versions": {job.agent: job.agent_version}, "per_s": 5.0, "by": "test", "limit": 9}
        assert letters.plan_replays(tx, of_others, **how) == 0
        assert letters.plan_replays(tx, of_crm, **how) == 1
        assert letters.list_newest(tx, of_crm)[0].state is LetterState.REPLAYING


def test_a_parked_call_waits_out_the_limit_and_is_made_without_a_question(
    household: Household, crm: Refusing, gates: Gates
) -> None:
    crm.status, crm.headers = 429, {"Retry-After": "1"}
    job_id = submit(household, "charge_patiently")
    run_until_waiting(household, job_id)
    step = call_of(household, job_id)
    assert (step.attempts, step.effect_epoch) == (0, None), "it certainly did not happen"
    crm.status = 200
    job = household.run(job_id)
    assert job.output == "done: charge done"
    assert crm.asked == ["/charge", "/charge"]
    assert [counted(gates, what) for what in ("calls", "firsts")] == [2, 1]
    assert [
        w for w in hand_of(household.viewer).waits(job_id) if w.state is WaitState.PENDING
    ] == []
    household.viewer.check_history(job_id)


def test_a_pipeline_may_say_that_its_steps_are_parked(household: Household, crm: Refusing) -> None:
    crm.status, crm.headers = 429, {"Retry-After": "1"}
    job_id = household.viewer.submit("fetching", {})
    run_until_waiting(household, job_id)
    crm.status = 200
    assert household.run(job_id).output == "look done"


def test_a_call_is_not_parked_for_ever(
    household: Household, crm: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "PARKS_MAX", 1)
    crm.status, crm.headers = 429, {"Retry-After": "0"}
    job = household.run(household.viewer.submit("fetching", {}))
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "unavailable")
    assert len(crm.asked) == 2
    assert letter_of(household, job.id)["dependency"] == "crm"


# --- what retries cost ----------------------------------------------------------------------------


def test_a_failed_call_is_tried_again_while_there_is_budget(
    household: Household, crm: Refusing
) -> None:
    crm.status = 500
    job = household.run(submit(household, "look"))
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "server_error")
    assert len(crm.asked) == 2
    assert letter_of(household, job.id)["dependency"] == "crm"


def test_without_budget_a_failed_call_is_the_last(
    household: Household, crm: Refusing, gates: Gates
) -> None:
    for _ in range(5):
        gates.spend("crm", household.viewer.tenant_id)
    crm.status = 500
    job = household.run(submit(household, "look"))
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "server_error")
    assert len(crm.asked) == 1
    assert job.error is not None
    assert "crm" in job.error["hint"]


def test_without_budget_a_call_in_doubt_is_asked_about_all_the_same(
    household: Household, crm: Refusing, gates: Gates
) -> None:
    for _ in range(5):
        gates.spend("crm", household.viewer.tenant_id)
    crm.status = 500
    job_id = submit(household, "charge")
    household.run_until_parked(job_id)
    assert household.viewer.job(job_id).waiting_for == "reconcile"


def test_calls_that_go_well_pay_back(household: Household, crm: Refusing, redis: Redis) -> None:
    tenant = household.viewer.tenant_id
    household.house.gates.spend("crm", tenant)
    household.run(submit(household, "look"))
    assert redis.get(key_of("budget", f"{tenant}:crm")) == "9.1"


# --- models ---------------------------------------------------------------------------------------


def test_a_models_first_token_and_total_time_are_learned_apart(
    household: Household, gates: Gates
) -> None:
    SAYS[:] = [Says("Hello.", first_token_s=0.2, takes_s=0.6)]
    job = household.run(household.viewer.submit("asking", {"ask": "?"}))
    assert job.output == "Hello."
    state = state_of(gates, "openai")
    assert state.first is not None
    assert state.total is not None
    assert 0.15 < state.first.p50_s < 0.5 < state.total.p50_s < 3


def test_a_models_429_shuts_the_gate_of_its_provider(
    household: Household, provider: Provider
) -> None:
    SAYS[:] = [RATE_LIMITED]
    job = household.run(household.viewer.submit("asking", {"ask": "?"}))
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "rate_limited")
    assert letter_of(household, job.id)["dependency"] == "openai"
    run_until_waiting(household, household.viewer.submit("asking", {"ask": "again?"}))
    assert len(provider.asked) == 1


def test_an_agent_may_wait_out_a_rate_limit(household: Household, provider: Provider) -> None:
    SAYS[:] = [Refuses(429, "Slow down.", None, 1), Says("Now.")]
    job = household.run(household.viewer.submit("patient_agent", {"ask": "?"}))
    assert job.output == "Now."
    assert len(provider.asked) == 2


def test_a_first_token_is_waited_for_as_long_as_the_gate_has_learned(
    household: Household, gates: Gates
) -> None:
    learn(gates, "openai", first_s=0.1, total_s=0.3)
    # Never less than the least: the first of them comes late, and in time.
    SAYS[:] = [Says("Late.", first_token_s=1.0), Says("x", first_token_s=30.0), Says("Again.")]
    assert household.run(household.viewer.submit("asking", {"ask": "?"})).output == "Late."
    job = household.run(household.viewer.submit("asking", {"ask": "?"}))
    assert job.output == "Again."
    (retry,) = [e for e in household.viewer.events(job.id) if e.type == "step.retry_scheduled"]
    assert retry.data["error"]["class"] == "timeout"
    assert "after 2 seconds without" in retry.data["error"]["message"]


def test_a_model_is_never_waited_for_longer_than_anybody_allows() -> None:
    settings = Settings(model_timeout_s=60, model_first_token_timeout_s=30)
    agent = Agent("a", "openai:m", "", limits=Limits(model_timeout_s=20))
    assert patience_with(agent, settings) == Patience(20, 20)
    assert patience_with(agent, settings, first_token_s=5, total_s=15) == Patience(5, 15)
    assert patience_with(agent, settings, first_token_s=99, total_s=99) == Patience(20, 20)
    assert patience_with(agent, settings, first_token_s=0.1, total_s=0.1) == Patience(2, 10)
    assert patience_with(agent, settings, first_token_s=5, total_s=15, left_s=3) == Patience(3, 3)


@pytest.mark.parametrize(
    ("name", "dependency"),
    [
        ("openai:gpt-5-mini", "openai"),
        ("openai-chat:gpt-5-mini", "openai"),
        ("anthropic:claude-haiku-4-5", "anthropic"),
        ("offline", None),
    ],
)
def test_a_models_dependency_is_its_provider(name: str, dependency: str | None) -> None:
    assert dependency_of_model(name) == dependency
    models = Models(Settings())
    agent = Agent("a", name, "", offline=lambda: FunctionModel(follow_script))
    assert models.dependency_of(agent, None) == dependency
    assert models.dependency_of(agent, "offline") is None
    own = Agent("own", FunctionModel(follow_script), "")
    assert models.dependency_of(own, None) is None

"""Budgets in a worker: asked before every call, settled by every commit, and the cap at last."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from jobs.agent.diary import ScheduleWish
from jobs.agent.estimate import estimate_call
from jobs.errors import InvalidInput, Refused
from jobs.lifecycle import schedules
from jobs.lifecycle.budgeting import raise_budget
from jobs.lifecycle.schedules import Maker
from jobs.settings import Settings
from store import jobs
from store.budgets import Caps
from store.rows import JobRow
from store.states import BudgetScope, JobStatus, StepState, WaitKind
from tests.budgeted import PRICE_USD, TOKENS_IN, TOKENS_OUT, priced
from tests.budgeting import DAY, JOB, STEPS, TENANT, TOKENS, TREE, USD, Bookkeeper
from tests.housing import Household, decide, lose_worker, pending, replay
from tests.processes import PROGRAMS, Viewer
from tests.programs import as_input
from tests.ticking import Clockwork

BUDGETED = f"{PROGRAMS},tests.budgeted"
# A turn with one call, and the answer: three steps.
THREE_STEPS = as_input([("add", {"a": 1})], answer="so")
PRICE = Decimal(PRICE_USD)


@pytest.fixture
def programs() -> str:
    return BUDGETED


@pytest.fixture
def books(viewer: Viewer) -> Iterator[Bookkeeper]:
    found = Bookkeeper(viewer.desk.doors, viewer.tenant_id)
    yield found
    assert found.discrepancies() == []


def caps(usd: str | None = None, tokens: int | None = None) -> Caps:
    asked = {USD: usd, TOKENS: tokens}
    return {unit: Decimal(str(cap)) for unit, cap in asked.items() if cap is not None}


def raise_by(viewer: Viewer, job_id: UUID, scope: BudgetScope = JOB, **by: Any) -> None:
    amounts = {unit: Decimal(by[unit.value]) for unit in (USD, TOKENS, STEPS) if unit.value in by}
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        raise_budget(tx, jobs.read(tx, job_id), scope, amounts, by_whom="ann")


def gave_up(job: JobRow) -> dict[str, Any]:
    """The error of a job that reached its cap."""
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "budget")
    assert job.error is not None
    assert job.error["class"] == "budget"
    return job.error


# --- what it costs --------------------------------------------------------------------------------


def test_a_job_without_a_cap_leaves_no_trace_in_the_books(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("scripted", THREE_STEPS)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert not books.has_accounts(job_id)
    assert [books.entries(job_id, seq) for seq in (1, 2, 3)] == [[], [], []]


def test_every_step_is_settled_to_what_it_used(household: Household, books: Bookkeeper) -> None:
    job_id = household.viewer.submit("priced", THREE_STEPS)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert books.standing(job_id, USD) == (0, 0, 2 * PRICE)
    assert books.standing(job_id, TOKENS) == (0, 0, 2 * (TOKENS_IN + TOKENS_OUT))
    (_, tokens, *_), (_, usd, reserved, spent, released, is_estimated, _) = books.entries(job_id)
    assert (tokens, usd, spent, is_estimated) == ("tokens", "usd", PRICE, False)
    assert reserved == spent + released


def test_a_step_that_was_lost_with_its_worker_is_paid_for_once(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("priced", THREE_STEPS)
    lose_worker(household.viewer, job_id, 1)
    household.run(job_id)
    assert books.standing(job_id, USD) == (0, 0, 2 * PRICE)


def test_an_estimate_bounds_what_comes_in_and_what_goes_out() -> None:
    model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(api_key="unused"))
    long = [ModelRequest(parts=[UserPromptPart("word " * 1_000)])]
    found, is_known = estimate_call(priced, model, long, Settings())
    assert is_known
    assert found.tokens > 2_500 + 500
    assert found.usd > Decimal("0.00000025") * 2_500 + Decimal("0.000002") * 500
    short, _ = estimate_call(priced, model, long[:0], Settings())
    assert short.tokens < found.tokens - 2_000


def test_an_unknown_price_is_taken_to_be_the_one_that_is_set() -> None:
    model = OpenAIChatModel("made-up-5", provider=OpenAIProvider(api_key="unused"))
    settings = Settings(unknown_price_usd_per_mtok=Decimal(1_000_000))
    found, is_known = estimate_call(priced, model, [], settings)
    assert not is_known
    assert found.usd == found.tokens


# --- at the cap -----------------------------------------------------------------------------------


def test_a_job_that_has_used_its_steps_is_given_up_with_all_figures(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("two_steps", THREE_STEPS)
    error = gave_up(household.run(job_id))
    expected = {"scope": "job", "unit": "steps", "cap": "2", "spent": "2", "reserved": "0"}
    assert error["budget"].items() >= (expected | {"asked": "1"}).items()
    for said in ("the cap is 2 steps", "2 is spent", "0 is reserved", "up to 1"):
        assert said in error["message"]
    assert books.letter(job_id).error_class == "budget"
    assert books.states(job_id) == [StepState.COMMITTED, StepState.COMMITTED, StepState.FAILED]


def test_a_replay_goes_on_after_the_cap_was_raised(household: Household, books: Bookkeeper) -> None:
    viewer = household.viewer
    job_id = viewer.submit("two_steps", THREE_STEPS)
    household.run(job_id)
    again = replay(viewer, job_id)
    gave_up(household.run(again))

    raise_by(viewer, again, steps=1)
    third = replay(viewer, again)
    job = household.run(third)
    assert (job.status, job.output) == (JobStatus.COMPLETED, "so: 2")
    assert books.standing(third, STEPS) == (0, 0, 3)


def test_a_pipeline_is_bounded_likewise(household: Household, books: Bookkeeper) -> None:
    job_id = household.viewer.submit("short_walk", {})
    gave_up(household.run(job_id))
    assert books.standing(job_id, STEPS) == (0, 0, 2)


def test_a_job_whose_time_is_over_begins_nothing(household: Household, books: Bookkeeper) -> None:
    job_id = household.viewer.submit("short_walk", {})
    books.set_back("jobs", "created_at", 3601, id=job_id)
    error = gave_up(household.run(job_id))
    assert error["budget"]["unit"] == "seconds"
    assert "The time of this job is over: 3600 s" in error["message"]


def test_a_cap_may_ask_a_person_who_raises_it(household: Household, books: Bookkeeper) -> None:
    viewer = household.viewer
    job_id = viewer.submit("asking", THREE_STEPS)
    (wait,) = household.run_until_parked(job_id)
    assert (wait.kind, wait.name) == (WaitKind.REVIEW, "budget")
    assert wait.prompt is not None
    assert wait.prompt["decisions"] == ["continue", "fail"]
    assert wait.prompt["budget"]["cap"] == "2"
    assert viewer.job(job_id).status is JobStatus.INPUT_REQUIRED

    raise_by(viewer, job_id, steps=5)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert books.standing(job_id, STEPS) == (0, 0, 3)


def test_to_go_on_without_raising_it_asks_again(household: Household, books: Bookkeeper) -> None:
    viewer = household.viewer
    job_id = viewer.submit("asking", THREE_STEPS)
    household.run_until_parked(job_id)
    decide(viewer, job_id, "continue")
    household.run_until(lambda: [w.n for w in pending(viewer, job_id)] == [2])
    decide(viewer, job_id, "fail")
    gave_up(household.run(job_id))


def test_what_cannot_be_raised_is_said_and_answers_nothing(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("asking", THREE_STEPS)
    household.run_until_parked(job_id)
    with pytest.raises(Refused, match="no cap of usd"):
        raise_by(household.viewer, job_id, usd="5")
    assert len(pending(household.viewer, job_id)) == 1


def test_an_unknown_price_counts_as_what_was_set_aside(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("unpriced", as_input(answer="so"))
    assert household.run(job_id).status is JobStatus.COMPLETED
    reserved, spent, released, is_estimated = books.entries(job_id)[0][2:6]
    assert reserved == spent > 0
    assert (released, is_estimated) == (0, True)


def test_an_agent_may_refuse_an_unknown_price(household: Household, books: Bookkeeper) -> None:
    job_id = household.viewer.submit("refusing", as_input(answer="so"))
    error = gave_up(household.run(job_id))
    assert "Nobody knows the price of function:made-up" in error["message"]
    assert books.entries(job_id) == []


# --- a submission, a tenant, children -------------------------------------------------------------


def test_a_submission_may_ask_for_less_and_never_for_more(
    household: Household, books: Bookkeeper
) -> None:
    viewer = household.viewer
    with pytest.raises(InvalidInput, match=r"may use 1 usd at most, and 1\.01 were asked for"):
        viewer.submit("priced", THREE_STEPS, budget=caps(usd="1.01"))
    job_id = viewer.submit("priced", THREE_STEPS, budget=caps(usd="0.000000001", tokens=5))
    assert books.account(job_id, TOKENS).cap == 5
    error = gave_up(household.run(job_id))
    assert error["budget"]["spent"] == "0"


def test_a_submission_may_bound_what_its_agent_does_not(
    household: Household, books: Bookkeeper
) -> None:
    job_id = household.viewer.submit("scripted", THREE_STEPS, budget=caps(tokens=1))
    gave_up(household.run(job_id))


def test_another_budget_is_another_request(household: Household) -> None:
    viewer = household.viewer
    given = {"idempotency_key": "one", "budget": caps(usd="0.5")}
    assert viewer.submit("priced", THREE_STEPS, **given) == viewer.submit(
        "priced", THREE_STEPS, **given
    )
    with pytest.raises(Refused, match="another request"):
        viewer.submit("priced", THREE_STEPS, idempotency_key="one", budget=caps(usd="0.4"))


@pytest.mark.parametrize("scope", [TENANT, DAY])
def test_a_tenants_cap_stops_a_job_without_one(
    household: Household, books: Bookkeeper, scope: BudgetScope
) -> None:
    books.cap_tenant(scope, steps=1)
    error = gave_up(household.run(household.viewer.submit("scripted", THREE_STEPS)))
    assert (error["budget"]["scope"], error["budget"]["cap"]) == (scope.value, "1")
    assert "operator" in error["hint"] or "day" in error["hint"]


def test_children_live_on_what_is_lent_and_give_back_the_rest(
    household: Household, books: Bookkeeper
) -> None:
    asked = {"agent": "scripted", "input": THREE_STEPS}
    wait = {"wait": "Delegate", "children": [asked, {"agent": "priced", "input": THREE_STEPS}]}
    job_id = household.viewer.submit("parent", {"waits": [wait]})
    job = household.run(job_id)
    assert job.status is JobStatus.COMPLETED, job.error
    assert [each["status"] for each in job.output["got"]] == ["failed", "completed"]
    starved, fed = books.children(job_id)
    assert books.account(starved.id, USD).cap == Decimal("0.1")
    assert gave_up(starved)["budget"]["unit"] == "usd"
    assert books.account(fed.id, USD).spent == 2 * PRICE
    assert books.standing(job_id, USD) == (0, 0, 2 * PRICE)
    assert books.standing(job_id, STEPS, TREE) == (0, 0, 3 + 3)


# --- by a schedule --------------------------------------------------------------------------------


def fire(viewer: Viewer, agent: str, asked: dict[str, Any]) -> UUID:
    """The job of the first tick of a schedule of this agent."""
    doors, registry, tenant_id = viewer.desk.doors, viewer.desk.registry, viewer.tenant_id
    wish = ScheduleWish("hourly", agent, asked, every_s=3600)
    row = schedules.make(doors, registry, tenant_id, wish, Maker("ann"), count_max=5)
    clockwork = Clockwork(doors, tenant_id)
    clockwork.pass_by(row.id, 3600)
    clockwork.tick()
    (job_id,) = clockwork.job_ids(row.id)
    return job_id


def test_the_job_of_a_tick_has_the_caps_of_its_agent_and_those_of_its_line(
    viewer: Viewer, books: Bookkeeper
) -> None:
    job_id = fire(viewer, "parent", {"waits": []})
    assert books.account(job_id, USD).cap == Decimal("0.30")
    assert books.account(job_id, STEPS, TREE).cap == 20


def test_the_job_of_a_tick_is_stopped_at_its_cap(household: Household, books: Bookkeeper) -> None:
    job_id = fire(household.viewer, "two_steps", THREE_STEPS)
    gave_up(household.run(job_id))
    assert books.standing(job_id, STEPS) == (0, 0, 2)

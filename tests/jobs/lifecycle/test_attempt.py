"""The engine on real servers: a job's way from ring to ring, and everything that can go wrong."""

from __future__ import annotations

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from jobs.lifecycle import attempt as engine
from jobs.lifecycle import concluding
from jobs.lifecycle.attempt import LOSSES_MAX, attempt, claim
from jobs.lifecycle.settling import settle
from jobs.lifecycle.shelf import JobShelf
from store import jobs, usage
from store.rows import CheckpointRow
from store.states import JobStatus, StepKind, StepState, WaitKind
from store.transitions import Settlement
from tests.conftest import Database
from tests.housing import Household, Impatient
from tests.jobs.lifecycle.conftest import OpenHouse
from tests.programs import as_input
from tests.running import eventually


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


def submit(household: Household, *turns: Any, **more: Any) -> UUID:
    return household.viewer.submit("scripted", as_input(*turns, **more))


def tool_steps(household: Household, job_id: UUID) -> list[CheckpointRow]:
    return [s for s in household.viewer.steps(job_id) if s.kind is StepKind.TOOL]


def run_call(household: Household, tool: str, **args: Any) -> tuple[UUID, CheckpointRow]:
    """Run a job that makes this one call; the job and the call's step."""
    job_id = submit(household, [(tool, args)])
    assert household.run(job_id).status is JobStatus.COMPLETED
    household.viewer.check_history(job_id)
    (step,) = tool_steps(household, job_id)
    return job_id, step


# --- the way of a job -----------------------------------------------------------------------------


def test_a_model_calls_tools_in_parallel_joins_them_and_answers(household: Household) -> None:
    job_id = submit(
        household,
        [("echo", {"text": "one"}), ("add", {"a": 2}), ("echo", {"text": "three"})],
        [("add", {"a": 40, "b": 2})],
        answer="so",
    )
    job = household.run(job_id)
    assert job.status is JobStatus.COMPLETED
    assert job.output == "so: 42"
    steps = household.viewer.steps(job_id)
    assert [(s.name, s.parent_seq) for s in steps] == [
        ("model.scripted", None),
        ("tool.echo", 1),
        ("tool.add", 1),
        ("tool.echo", 1),
        ("model.scripted", steps[4].parent_seq),
        ("tool.add", 5),
        ("model.scripted", 6),
    ]
    assert steps[4].parent_seq in (2, 3, 4), "the last sibling in has planned it"
    assert [s.output["content"] for s in steps[1:4]] == ["one", 3, "three"]
    assert job.steps_done == 7
    household.viewer.check_history(job_id)


def test_every_model_step_leaves_its_usage(household: Household) -> None:
    job_id = submit(household, [("add", {"a": 1})])
    household.run(job_id)
    with household.viewer.desk.doors.as_tenant(household.viewer.tenant_id) as tx:
        spent = usage.total(tx, jobs.read(tx, job_id))
    assert spent.requests == 2
    assert spent.input_tokens > 0
    assert spent.cost_usd is None, "nobody knows what a function costs"


def test_a_pipeline_hands_each_result_to_the_next_step(household: Household) -> None:
    job_id = household.viewer.submit("walk", {})
    assert household.run(job_id).output == ["first", "second", "third", "fourth"]
    household.viewer.check_history(job_id)


def test_progress_is_told_while_the_step_runs(household: Household, ledger: Path) -> None:
    job_id = submit(household, [("keep", {"name": "n", "text": "t"})])
    household.run(job_id)
    told = [e for e in household.viewer.events(job_id) if e.type == "job.progress"]
    assert [event.data for event in told] == [{"seq": 2, "message": "kept", "done": 1.0}]
    ((row, data),) = household.viewer.artifacts(job_id)
    assert (row.name, row.seq, data) == ("n", 2, b"t")


def test_a_typed_answer_is_asked_for_again_with_what_was_wrong(household: Household) -> None:
    job_id = household.viewer.submit("typed", {"ask": "how good?"})
    job = household.run(job_id)
    assert job.output == {"score": 7}
    feedback = [s.output["feedback"] for s in household.viewer.steps(job_id)]
    assert "final_answer" in feedback[0]["text"]
    assert "score" in feedback[1]["text"]
    assert feedback[1]["calls"] == [["final_answer", "1"]]
    assert feedback[2] is None


# --- what a model gets wrong ----------------------------------------------------------------------


def test_a_tool_that_does_not_exist_is_answered_with_those_that_do(household: Household) -> None:
    _, step = run_call(household, "no_such_tool")
    assert step.name == "tool.unknown"
    assert step.output["outcome"] == "failed"
    assert "echo" in step.output["content"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"b": 2}, "a: Field required"),
        ({"a": "many"}, "a: Input should be a valid integer"),
        ({"a": 1, "c": 3}, "c: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(
    household: Household, args: dict[str, Any], says: str
) -> None:
    _, step = run_call(household, "add", **args)
    assert step.output["outcome"] == "retried"
    assert says in step.output["content"]


def test_arguments_that_are_no_json_are_explained(household: Household) -> None:
    job_id = submit(household, [("add", '{"a": 1')])
    assert household.run(job_id).status is JobStatus.COMPLETED
    (step,) = tool_steps(household, job_id)
    assert step.output["outcome"] == "retried"


def test_arguments_with_numbers_that_are_none_do_not_stop_the_job(household: Household) -> None:
    job_id = submit(household, [("echo", '{"text": NaN}')])
    assert household.run(job_id).status is JobStatus.COMPLETED


def test_a_model_that_never_ends_is_stopped_at_its_limit(household: Household) -> None:
    job_id = household.viewer.submit("endless", {"ask": "?"})
    job = household.run(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.status_reason, job.error["class"]) == ("limit", "limit")
    assert "3 model steps" in job.error["message"]
    household.viewer.check_history(job_id)


def test_too_many_failed_calls_end_the_job(household: Household) -> None:
    job_id = submit(household, *[[("complain", {"message": "no"})]] * 5)
    job = household.run(job_id)
    assert job.error is not None
    assert job.error["class"] == "limit"
    assert len(tool_steps(household, job_id)) == 4


# --- what a tool gets wrong -----------------------------------------------------------------------


def test_an_expected_failure_is_told_to_the_model_in_the_tools_words(household: Household) -> None:
    job_id, step = run_call(household, "complain", message="the table is empty")
    assert step.output == {"outcome": "failed", "content": "the table is empty"}
    assert household.viewer.job(job_id).output == "done: the table is empty"


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("stumble", "The tool failed: ValueError: oops"),
        ("leave", "The tool failed: SystemExit: 3"),
        ("leave_the_loop", "The tool failed: RuntimeError: it raised SystemExit"),
        ("give_nonsense", "cannot be kept as JSON"),
    ],
)
def test_a_tool_that_breaks_is_told_to_the_model(
    household: Household, tool: str, says: str
) -> None:
    args = {"message": "oops"} if tool == "stumble" else {}
    _, step = run_call(household, tool, **args)
    assert step.output["outcome"] == "failed"
    assert says in step.output["content"]
    # Whatever it did to the process, the next job finds it well.
    assert household.run(household.viewer.submit("walk", {})).status is JobStatus.COMPLETED


def test_an_error_text_that_postgres_cannot_keep_ends_the_job_all_the_same(
    household: Household,
) -> None:
    job_id = household.viewer.submit("walk", {"raises": "odd: NUL"})
    job = household.run(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["class"], job.status_reason) == ("bug", "bug")
    assert job.error["message"] == "ValueError: odd: \ufffd"


def test_odd_characters_and_numbers_are_replaced_not_refused(household: Household) -> None:
    _, step = run_call(household, "give_odd_text")
    assert step.output["content"] == {"nul": "a\ufffdb", "half": "\ufffd", "none": None}


def test_a_large_output_becomes_an_artifact_and_a_preview(household: Household) -> None:
    job_id, step = run_call(household, "give_much", megabytes=50)
    content = step.output["content"]
    assert content["bytes"] == 50 * 2**20 + 2
    assert len(json.dumps(step.output)) < 4_000
    ((row, data),) = household.viewer.artifacts(job_id)
    assert content["artifact"] == str(row.id)
    assert json.loads(data) == "x" * (50 * 2**20)


# --- what hangs -----------------------------------------------------------------------------------


def test_a_tool_that_hangs_is_given_up_and_stopped(household: Household, ledger: Path) -> None:
    _, step = run_call(household, "hang", gate="open")
    assert step.output["outcome"] == "failed"
    assert "took longer" in step.output["content"]
    eventually(lambda: household.house.watch.count() == 0)
    ledger.with_name("gate-open").touch()
    assert lines(ledger) == ["begin hang"]


def test_a_coroutine_that_hangs_is_cancelled_at_its_time(household: Household) -> None:
    _, step = run_call(household, "hang_softly")
    assert "TimeoutError" in step.output["content"]
    eventually(lambda: household.house.watch.count() == 0)


def test_a_call_that_hangs_and_must_not_happen_twice_is_asked_about(
    household: Household, ledger: Path
) -> None:
    job_id = submit(household, [("hang_over_money", {"gate": "open"})])
    household.run_until(lambda: household.viewer.job(job_id).waiting_for == "reconcile")
    ledger.with_name("gate-open").touch()
    assert household.viewer.job(job_id).status is JobStatus.INPUT_REQUIRED
    assert lines(ledger) == ["begin money"]


# --- what is tried again --------------------------------------------------------------------------


def test_a_refused_connection_is_tried_again_and_then_works(household: Household) -> None:
    household.house.draw = Impatient()
    job_id, step = run_call(household, "refuse_connections", times=2)
    assert (step.attempts, step.epoch, step.output["content"]) == (2, 3, "after 2")
    story = [event.type for event in household.viewer.events(job_id)]
    assert story.count("step.retry_scheduled") == 2


def test_after_the_last_try_the_job_ends_with_what_to_do(household: Household) -> None:
    household.house.draw = Impatient()
    job_id = submit(household, [("refuse_connections", {"times": 99})])
    job = household.run(job_id)
    assert job.error is not None
    assert job.error["class"] == "not_sent"
    assert "ConnectionRefusedError" in job.error["message"]
    assert job.error["hint"]
    (step,) = tool_steps(household, job_id)
    assert (step.state, step.attempts, step.epoch) == (StepState.FAILED, 3, 4)
    household.viewer.check_history(job_id)


def test_a_wait_before_a_retry_is_seen_on_the_job(household: Household) -> None:
    class Patient(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    household.house.draw = Patient()
    job_id = submit(household, [("refuse_connections", {"times": 1})])

    def is_waiting() -> bool:
        household.answer_rings()
        return household.viewer.job(job_id).status_reason == "retry_scheduled"

    eventually(is_waiting)
    job = household.viewer.job(job_id)
    assert job.status is JobStatus.QUEUED
    assert job.status_until is not None
    (step,) = tool_steps(household, job_id)
    assert step.ready_at == job.status_until
    assert (step.ready_at - step.claimed_at).total_seconds() > 1.9  # type: ignore[operator]


def test_a_connection_lost_after_sending_is_asked_about_and_not_sent_again(
    household: Household, ledger: Path
) -> None:
    household.house.draw = Impatient()
    job_id = submit(household, [("break_off", {})])
    (asked,) = household.run_until_parked(job_id)
    assert (asked.kind, asked.seq) == (WaitKind.RECONCILE, 2)
    assert lines(ledger) == ["sent"]


# --- what is lost ---------------------------------------------------------------------------------


def submit_to_nobody(household: Household, tool: str, **args: Any) -> UUID:
    """A job whose first tool call is planned, and not answered yet."""
    job_id = submit(household, [(tool, args)])
    attempt(household.viewer.tenant_id, job_id, 1, household.house)
    return job_id


def lose_call(household: Household, job_id: UUID, losses: int = 1) -> None:
    """As if so many workers had died with the call in their hands."""
    assert [s.seq for s in tool_steps(household, job_id)] == [2]
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(
            text("update stepwell.checkpoints set losses = :n where job_id = :j and seq = 2"),
            {"n": losses, "j": job_id},
        )


def test_a_call_that_must_not_happen_twice_runs_when_its_worker_was_lost_before_it(
    household: Household, ledger: Path
) -> None:
    job_id = submit_to_nobody(household, "charge")
    lose_call(household, job_id)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"begin charge {job_id}:2", f"end charge {job_id}:2"]
    household.viewer.check_history(job_id)


def test_a_call_with_a_key_runs_again_under_the_same_key(
    household: Household, ledger: Path
) -> None:
    job_id = submit_to_nobody(household, "post", what="a")
    lose_call(household, job_id)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"begin a {job_id}:2", f"end a {job_id}:2"]


def test_a_step_that_took_down_every_worker_is_poison(household: Household, ledger: Path) -> None:
    job_id = submit_to_nobody(household, "post", what="a")
    lose_call(household, job_id, LOSSES_MAX)
    job = household.run(job_id)
    assert job.error is not None
    assert job.error["class"] == "poison"
    assert lines(ledger) == []


def test_a_late_writer_cannot_replace_an_artifact(household: Household, ledger: Path) -> None:
    job_id = submit_to_nobody(household, "keep", name="n", text="right", gate="late")
    late = household.answer(household.viewer.tenant_id, job_id, 2)
    eventually(lambda: f"begin keep {job_id}:2" in lines(ledger))
    # As the scheduler does with a worker it has not heard of.
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(
            text(
                "update stepwell.checkpoints set state = 'ready', worker_id = null,"
                " losses = 1 where job_id = :j and seq = 2"
            ),
            {"j": job_id},
        )
    heir = claim(household.viewer.tenant_id, job_id, 2, household.house)
    assert heir is not None
    shelf = JobShelf(household.viewer.desk.doors, heir, household.house.cache)
    kept = shelf.save("n", "text/plain", b"right")
    output = {"outcome": "success", "content": str(kept.id)}
    settle(heir, Settlement(StepState.COMMITTED, {"seq": 2}, output=output), household.house)
    ledger.with_name("gate-late").touch()
    late.join(timeout=10)
    assert not late.is_alive()
    assert [row.id for row, _ in household.viewer.artifacts(job_id)] == [kept.id]
    assert tool_steps(household, job_id)[0].output["content"] == str(kept.id)


def test_an_agent_that_is_not_served_here_waits_for_a_worker_that_does(
    household: Household,
) -> None:
    job_id = household.viewer.submit("walk", {})
    away = household.house.registry.agents.pop("walk")
    household.answer_rings()
    eventually(lambda: household.viewer.job(job_id).status_reason == "unknown_agent")
    (step,) = household.viewer.steps(job_id)
    assert (step.state, step.attempts) == (StepState.READY, 0)
    household.house.registry.agents["walk"] = away
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.checkpoints set ready_at = now()"))
    assert household.run(job_id).status is JobStatus.COMPLETED


def test_what_the_engine_itself_stumbles_over_ends_the_job(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> bool:
        raise AttributeError("a bug of ours")

    job_id = household.viewer.submit("walk", {})
    monkeypatch.setattr(concluding, "rides_along", stumble)
    with pytest.raises(AttributeError):
        attempt(household.viewer.tenant_id, job_id, 1, household.house)
    job = household.viewer.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["class"], job.error["message"]) == ("bug", "AttributeError")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_the_engine_stumbles_over_while_it_gives_a_step_up_ends_the_job(
    household: Household, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise AttributeError("a bug of ours")

    monkeypatch.setattr(engine, "clear_up", stumble)
    job_id = submit(household, [("hang", {"gate": "open"})])
    job = household.run(job_id)
    ledger.with_name("gate-open").touch()
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "bug")


# --- cancelling -----------------------------------------------------------------------------------


def test_a_cancelled_job_ends_with_its_running_step_and_plans_nothing(
    household: Household, ledger: Path
) -> None:
    job_id = household.viewer.submit("walk", {"gates": {"second": "open"}})

    def has_begun() -> bool:
        household.answer_rings()
        return f"begin second {job_id}:2" in lines(ledger)

    eventually(has_begun)
    with household.viewer.desk.doors.as_tenant(household.viewer.tenant_id) as tx:
        jobs.request_cancel(tx, job_id)
    ledger.with_name("gate-open").touch()
    assert household.run(job_id).status is JobStatus.CANCELLED
    assert len(household.viewer.steps(job_id)) == 2
    household.viewer.check_history(job_id)


# --- riding ---------------------------------------------------------------------------------------


def test_without_a_quantum_every_step_is_a_ring_of_its_own(open_house: OpenHouse) -> None:
    household = open_house(quantum_ms=0)
    job_id = household.viewer.submit("count", {})
    assert household.run(job_id).output == 20
    assert household.answered_of(job_id) == list(range(1, 21))


def test_quick_steps_ride_along_once_they_are_known_to_be_quick(open_house: OpenHouse) -> None:
    household = open_house(quantum_ms=10_000)
    first = household.viewer.submit("count", {})
    assert household.run(first).output == 20
    second = household.viewer.submit("count", {})
    assert household.run(second).output == 20
    assert household.answered_of(second) == [1]
    assert all((s.epoch, s.state.value) == (1, "committed") for s in household.viewer.steps(second))
    household.viewer.check_history(second)


def test_what_has_an_effect_on_the_world_never_rides(open_house: OpenHouse, ledger: Path) -> None:
    household = open_house(quantum_ms=10_000)
    for _ in range(2):
        job_id = submit(household, [("post", {"what": "a"})], [("echo", {"text": "b"})])
        household.run(job_id)
    assert 2 in household.answered_of(job_id), "the post"
    assert 4 not in household.answered_of(job_id), "the echo"


def test_a_step_that_was_slow_does_not_ride(open_house: OpenHouse) -> None:
    household = open_house(quantum_ms=50)
    household.house.pace.note("step.count.count_up", 60.0)
    job_id = household.viewer.submit("count", {})
    attempt(household.viewer.tenant_id, job_id, 1, household.house)
    assert household.viewer.steps(job_id)[1].state is StepState.READY


# --- the heart ------------------------------------------------------------------------------------


def test_a_worker_that_was_found_lost_comes_back_under_a_new_name(household: Household) -> None:
    house, old = household.house, household.house.worker_id
    with house.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.workers set state = 'lost' where id = :id"), {"id": old})
    assert claim(household.viewer.tenant_id, household.viewer.submit("walk", {}), 1, house) is None
    eventually(lambda: house.worker_id != old, 10)
    assert household.run(household.viewer.submit("walk", {})).status is JobStatus.COMPLETED


def test_a_heart_survives_what_it_has_no_name_for(household: Household, database: Database) -> None:
    def rename(old: str, new: str) -> None:
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute(f"alter table stepwell.{old} rename to {new}")

    rename("workers", "workers_away")
    eventually(lambda: not household.house.may_claim.is_set(), 15)
    rename("workers_away", "workers")
    eventually(lambda: household.house.may_claim.is_set(), 15)
    assert household.run(household.viewer.submit("walk", {})).status is JobStatus.COMPLETED


def test_an_incarnation_is_not_over_while_a_result_of_its_is_on_the_way(
    household: Household, database: Database, ledger: Path
) -> None:
    """A result that cannot be written yet must not be taken for a step that nobody runs."""
    house, old = household.house, household.house.worker_id
    job_id = household.viewer.submit("walk", {"gates": {"first": "open"}})
    running = household.answer(household.viewer.tenant_id, job_id, 1)
    eventually(lambda: lines(ledger) == [f"begin first {job_id}:1"])
    with psycopg.connect(database.admin_url) as blocker:
        # Whoever holds the job's row makes the commit wait.
        blocker.execute("select 1 from stepwell.jobs for update")
        ledger.with_name("gate-open").touch()
        eventually(lambda: len(lines(ledger)) == 2)
        house.is_doubtful.set()
        eventually(lambda: house.worker_id != old, 10)
        beats = beaten_at(household, house.worker_id)
        eventually(lambda: beaten_at(household, house.worker_id) > beats, 10)
        assert state_of(household, old) == "live"
    running.join(timeout=15)
    step = household.viewer.steps(job_id)[0]
    assert (step.state, step.losses) == (StepState.COMMITTED, 0)
    eventually(lambda: state_of(household, old) == "stopped", 10)


def beaten_at(household: Household, worker_id: UUID) -> datetime:
    return _of_worker(household, "beaten_at", worker_id)


def state_of(household: Household, worker_id: UUID) -> str:
    return _of_worker(household, "state", worker_id)


def _of_worker(household: Household, column: str, worker_id: UUID) -> Any:
    with household.viewer.desk.doors.as_operator("test") as tx:
        return tx.execute(
            text(f"select {column} from stepwell.workers where id = :id"), {"id": worker_id}
        ).scalar_one()

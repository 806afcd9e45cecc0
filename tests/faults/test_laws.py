"""The checker believes nobody alone: a lie of a caller, or a hand in the tables, breaks a law."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from store.doors import Doors
from store.states import WaitKind
from tests.conftest import Database
from tests.faults import scenes
from tests.faults.facts import Answered, Asked, Sent
from tests.faults.history import install
from tests.faults.laws import LAWS, Told, check, examine
from tests.faults.ledger import note_begin, note_effect
from tests.faults.stage import DONE, WORK, Stage

INVARIANTS = Path(__file__).parents[2] / "docs" / "invariants.md"


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Iterator[Stage]:
    install(database.admin_url)
    opened = Stage(database, tmp_path)
    yield opened
    opened.close()


def laws_broken(stage: Stage, database: Database) -> set[str]:
    return {violation.law for violation in check(stage.facts, stage.terms(database))}


def test_the_laws_have_the_names_that_the_page_gives_them() -> None:
    rows = [line.split("|") for line in INVARIANTS.read_text("utf-8").splitlines()]
    named = {row[2].strip() for row in rows if len(row) > 3 and row[1].strip().startswith("I")}
    assert named == set(LAWS)


# --- hands in the tables --------------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """A statement that somebody gives behind the store's back, and the law it breaks."""

    law: str
    statement: str
    scene: Callable[[Stage], None] = scenes.a_zombie_commits


SETTLED = "where state = 'committed' and seq = 1"
HANDS = {
    "an output is replaced": Hand(
        "one_commit_per_step", f"update stepwell.checkpoints set output = '7' {SETTLED}"
    ),
    "an input is replaced": Hand(
        "one_commit_per_step", f"update stepwell.checkpoints set input = '7' {SETTLED}"
    ),
    "a commit is told of twice": Hand(
        "one_commit_per_step",
        "update stepwell.events set type = 'step.completed', data = '{\"seq\": 1}' where id = 2",
    ),
    "an epoch is set back": Hand(
        "epochs_only_grow", "update stepwell.checkpoints set epoch = epoch - 1 where epoch > 1"
    ),
    "an ended job is opened again": Hand(
        "one_ending", "update stepwell.jobs set status = 'queued', finished_at = null"
    ),
    "an output of a job is replaced": Hand(
        "one_ending", "update stepwell.jobs set output = '{\"answer\": 43}'"
    ),
    "an event comes after the end": Hand(
        "one_ending",
        "insert into stepwell.events (tenant_id, job_id, id, type)"
        " select tenant_id, id, event_seq + 1, 'job.progress' from stepwell.jobs",
    ),
    "a dead letter is thrown away": Hand(
        "one_ending", "delete from stepwell.dead_letters", scenes.a_failed_job_is_replayed
    ),
    "a step is deleted": Hand("no_gap", "delete from stepwell.checkpoints where seq = 1"),
    "a step comes out of nowhere": Hand(
        "no_gap",
        "insert into stepwell.checkpoints select (jsonb_populate_record("
        'c, \'{"seq": 3, "parent_seq": 2}\')).* from stepwell.checkpoints c where seq = 1',
    ),
    "a job is left with nothing to do": Hand(
        "no_orphan",
        "update stepwell.jobs set status = 'running', finished_at = null, output = null",
    ),
    "a signal is deleted": Hand(
        "no_lost_wake", "delete from stepwell.signals", scenes.a_signal_comes_early
    ),
    "a signal is unread again": Hand(
        "no_lost_wake",
        "update stepwell.signals set consumed_at = null, consumed_seq = null, consumed_n = null",
        scenes.a_signal_comes_early,
    ),
    "another payload is put in": Hand(
        "no_lost_wake", "update stepwell.signals set payload = '7'", scenes.a_signal_comes_early
    ),
    "another answer is put in": Hand(
        "approval_binds", "update stepwell.waits set result = '\"no\"'", scenes.two_people_answer
    ),
    "another question is put in": Hand(
        "approval_binds",
        'update stepwell.waits set prompt = \'{"question": "Shall I?"}\'',
        scenes.two_people_answer,
    ),
    "an answer is used by another claim": Hand(
        "approval_binds",
        "update stepwell.waits set consumed_epoch = consumed_epoch - 1",
        scenes.two_people_answer,
    ),
    "a step is booked that asked no model": Hand(
        "budget_conserved",
        "insert into stepwell.usage select tenant_id, id, 1, 'm', 1, 1, 1 from stepwell.jobs",
    ),
    "something is spent that is in no ledger": Hand(
        "budget_conserved",
        "update stepwell.budgets set spent = spent + 0.000000001",
        scenes.a_budget_is_spent,
    ),
    "a page is torn out of the ledger": Hand(
        "budget_conserved",
        "delete from stepwell.budget_entries where unit = 'tokens'",
        scenes.a_budget_is_spent,
    ),
    "a child has more time": Hand(
        "child_is_less",
        "update stepwell.jobs set deadline_at = deadline_at - interval '1 hour' where depth = 0",
        scenes.a_parent_has_little_time,
    ),
    "a child is not counted": Hand(
        "child_is_less",
        "update stepwell.jobs set children = 1 where depth = 0",
        scenes.a_parent_has_little_time,
    ),
    "a child comes from elsewhere": Hand(
        "child_is_less",
        "update stepwell.jobs set parent_seq = 7 where depth = 1",
        scenes.a_parent_has_little_time,
    ),
    "a step is counted that is not there": Hand(
        "slots_return", "update stepwell.jobs set outstanding = 1"
    ),
    "a job is deleted": Hand("admitted_is_kept", "delete from stepwell.jobs"),
    "a job is asked something else": Hand(
        "admitted_is_kept", "update stepwell.jobs set input = '{\"other\": 1}'"
    ),
    "a timer is put off": Hand(
        "tick_fires_once",
        "update stepwell.waits set wake_at = wake_at + interval '1 hour'",
        scenes.two_schedulers_see_a_timer,
    ),
    "a table is opened to everybody": Hand(
        "tenants_are_walled",
        "create policy open_house on stepwell.jobs for select to stepwell_app using (true)",
        scenes.two_tenants_are_neighbours,
    ),
    "a table that is empty is opened": Hand(
        "tenants_are_walled",
        "create policy open_house on stepwell.tenant_census to stepwell_app using (true)",
        scenes.two_tenants_are_neighbours,
    ),
}


@pytest.mark.parametrize("hand", HANDS.values(), ids=HANDS.keys())
def test_a_hand_in_the_tables_is_seen(database: Database, stage: Stage, hand: Hand) -> None:
    hand.scene(stage)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(hand.statement.encode())
    assert hand.law in laws_broken(stage, database)


def test_a_hand_that_switches_the_history_off_is_seen(database: Database, stage: Stage) -> None:
    scenes.a_zombie_commits(stage)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("update stepwell.checkpoints set output = '7' where seq = 1")
    assert "one_commit_per_step" in laws_broken(stage, database)


# --- what callers say -----------------------------------------------------------------------------


def lie_of_a_submission(stage: Stage) -> None:
    stage.facts.asked.append(Asked(stage.stepper.tenant_id, uuid4(), "test", {}, DONE))


def lie_of_an_output(stage: Stage) -> None:
    stage.facts.asked[:] = [replace(asked, expected=43) for asked in stage.facts.asked]


def lie_of_an_ending(stage: Stage) -> None:
    stage.facts.asked[:] = [replace(asked, outcomes=("failed",)) for asked in stage.facts.asked]


def lie_of_a_commit(stage: Stage) -> None:
    stage.told.append(Told(stage.facts.asked[0].job_id, 1, 1, "committed", "from the grave"))


def lie_of_a_claim(stage: Stage) -> None:
    note_begin(stage.facts.claims, stage.facts.asked[0].job_id, 1, 9, "claim")


def lie_of_two_claims(stage: Stage) -> None:
    for _ in range(2):
        note_begin(stage.facts.claims, stage.facts.asked[0].job_id, 1, 1, "claim")


def lie_of_a_signal(stage: Stage) -> None:
    job_id = stage.facts.asked[0].job_id
    stage.facts.sent.append(Sent(stage.stepper.tenant_id, job_id, uuid4(), "go", 1, 0.0))


def lie_of_an_answer(stage: Stage) -> None:
    job_id = stage.facts.asked[0].job_id
    told = Answered(stage.stepper.tenant_id, job_id, 1, 1, "question", "yes", 0.0)
    stage.facts.answered.append(told)


LIES: dict[Callable[[Stage], None], str] = {
    lie_of_a_submission: "admitted_is_kept",
    lie_of_an_output: "redis_is_a_hint",
    lie_of_an_ending: "redis_is_a_hint",
    lie_of_a_commit: "epochs_only_grow",
    lie_of_a_claim: "epochs_only_grow",
    lie_of_two_claims: "epochs_only_grow",
    lie_of_a_signal: "no_lost_wake",
    lie_of_an_answer: "approval_binds",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_what_a_caller_was_told_has_to_be_there(
    database: Database, stage: Stage, lie: Callable[[Stage], None]
) -> None:
    scenes.a_zombie_commits(stage)
    lie(stage)
    assert LIES[lie] in laws_broken(stage, database)


def test_an_effect_with_other_arguments_than_were_shown_is_seen(
    database: Database, stage: Stage
) -> None:
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.RECONCILE, prompt={"args": {"amount": 10}})
    stage.answer(job_id, {"decision": "again"})
    stage.finish(job_id)
    for amount, broken in ((10, set()), (100, {"approval_binds"})):
        note_effect(
            stage.facts.ledger,
            "begin",
            key=str(amount),
            job_id=job_id,
            seq=1,
            tenant_id=stage.stepper.tenant_id,
            tool="charge",
            idempotency="none",
            what={"args": {"amount": amount}},
        )
        assert laws_broken(stage, database) == broken


# --- what is counted ------------------------------------------------------------------------------


def test_a_healthy_run_is_counted_and_its_recovery_measured(
    database: Database, stage: Stage
) -> None:
    scenes.a_zombie_commits(stage)
    examined = examine(stage.facts, stage.terms(database))
    counts = examined.counts
    assert (counts.jobs, counts.lost) == (1, 0)
    assert (counts.duplicated_commits, counts.repeated_effects) == (0, 0)
    [recovery] = examined.recoveries
    assert recovery.claimed_at is not None
    assert recovery.last_beat_at is not None
    assert recovery.last_beat_at < recovery.freed_at < recovery.claimed_at


def test_a_recovery_that_took_too_long_is_an_orphan(database: Database, stage: Stage) -> None:
    scenes.a_zombie_commits(stage)
    terms = replace(stage.terms(database), recovery_s_max=0.0)
    assert [violation.law for violation in check(stage.facts, terms)] == ["no_orphan"]


def test_a_model_step_that_nobody_booked_is_seen_where_everything_is_metered(
    database: Database, stage: Stage
) -> None:
    scenes.parallel_calls_join(stage)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("delete from stepwell.usage where seq = 1")
    assert laws_broken(stage, database) == set()
    terms = replace(stage.terms(database), is_metered=True)
    assert {violation.law for violation in check(stage.facts, terms)} == {"budget_conserved"}


def test_a_job_under_way_is_lost_only_when_all_has_come_to_rest(
    database: Database, stage: Stage
) -> None:
    stage.take(stage.put_down(WORK))
    terms = stage.terms(database)
    assert check(stage.facts, replace(terms, is_settled=False)) == []
    examined = examine(stage.facts, terms)
    assert {violation.law for violation in examined.violations} == {
        "no_orphan",
        "admitted_is_kept",
    }
    assert examined.counts.lost == 1


def test_a_job_that_waits_for_a_person_is_not_lost(database: Database, stage: Stage) -> None:
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.QUESTION)
    examined = examine(stage.facts, stage.terms(database))
    assert (examined.violations, examined.counts.lost) == ([], 0)


# --- the history ----------------------------------------------------------------------------------


def changes(database: Database) -> list[tuple[str, str | None, str | None]]:
    with psycopg.connect(database.admin_url) as admin:
        found = admin.execute(
            "select relation, old_state, new_state from stepwell_history.changes order by number"
        )
        return [(str(row[0]), row[1], row[2]) for row in found]


def test_the_history_tells_every_change_in_order(database: Database, stage: Stage) -> None:
    stage.finish(stage.put_down(WORK))
    assert changes(database) == [
        ("jobs", None, "queued"),
        ("checkpoints", None, "ready"),
        ("checkpoints", "ready", "running"),
        ("jobs", "queued", "running"),
        ("checkpoints", "running", "committed"),
        ("jobs", "running", "completed"),
    ]


def test_what_was_rolled_back_has_not_happened(database: Database, stage: Stage) -> None:
    stage.put_down(WORK)
    before = changes(database)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("delete from stepwell.jobs")
        admin.rollback()
    assert changes(database) == before


def test_a_ring_is_no_change(database: Database, stage: Stage) -> None:
    stage.put_down(WORK, is_rung=True)
    before = changes(database)
    assert stage.ring_again()
    assert changes(database) == before


def test_a_history_is_begun_once_and_closed_to_the_walled_role(
    database: Database, stage: Stage, doors: Doors
) -> None:
    stage.put_down(WORK)
    before = changes(database)
    install(database.admin_url)
    assert changes(database) == before
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        doors.hot() as connection,
    ):
        connection.execute("select * from stepwell_history.changes")

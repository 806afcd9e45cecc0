"""Mutants: the store broken on purpose, one law at a time, to see that the checker notices.

A mutant is a piece of the text of a function in `store/sql/` and what is put in its place, or a
statement that takes a wall down; a scene that makes the break show; and the law that the checker
has to name. The old text has to be there exactly once: a mutant whose function has changed fails
loudly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from store import migrate
from store import sql as functions
from store.embedded import PrivatePostgres
from tests.conftest import Database, urls_of
from tests.faults import scenes
from tests.faults.history import install
from tests.faults.laws import Violation, check
from tests.faults.stage import Stage

TEMPLATE = "template_of_mutants"

Scene = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Edit:
    """In this function, this text instead of that."""

    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way of being broken, and the law that has to be named for it."""

    name: str
    law: str
    scene: Scene
    edits: tuple[Edit, ...] = ()
    statement: str = ""


def one(function: str, old: str, new: str) -> tuple[Edit, ...]:
    return (Edit(function, old, new),)


FENCE = "and c.epoch = p_epoch and c.state || '' = 'running'"
HALF_A_FENCE = "and c.state = 'running'"
# A wait that is closed is closed again, and a step that is awake is woken again.
NO_DOOR_TO_A_WAIT = (
    Edit("wake_wait", "     and w.state = 'pending'\n", ""),
    Edit("wake_wait", "and c.state = 'waiting'", "and c.state in ('waiting', 'ready')"),
)

MUTANTS = (
    Mutant(
        "a commit without a fence",
        "one_commit_per_step",
        scenes.a_zombie_commits,
        one("commit_step", FENCE, ""),
    ),
    Mutant(
        "a replay runs committed steps again",
        "one_commit_per_step",
        scenes.a_failed_job_is_replayed,
        one(
            "steps_of_fork",
            "(p_from is null or c.seq < p_from)\n    from",
            "c.seq < p_from\n    from",
        ),
    ),
    Mutant(
        "a fork runs committed steps again",
        "one_commit_per_step",
        scenes.a_job_is_forked,
        (
            Edit("fork_job", "case when s.is_shared then c.state else 'ready' end", "'ready'"),
            Edit("fork_job", "case when s.is_shared then c.committed_at end", "null"),
        ),
    ),
    Mutant(
        "a commit that does not look at the epoch",
        "epochs_only_grow",
        scenes.a_zombie_commits,
        one("commit_step", FENCE, HALF_A_FENCE),
    ),
    Mutant(
        "a claim that leaves the epoch as it is",
        "epochs_only_grow",
        scenes.a_zombie_commits,
        one("claim_step", "epoch = c.epoch + 1", "epoch = greatest(c.epoch, 1)"),
    ),
    Mutant(
        "a second ring claims a running step",
        "epochs_only_grow",
        scenes.a_step_is_rung_twice,
        one(
            "claim_step",
            "and ready.state || '' = 'ready'",
            "and ready.state in ('ready', 'running')",
        ),
    ),
    Mutant(
        "a step parked without a fence",
        "epochs_only_grow",
        scenes.a_zombie_parks,
        one("park_step", FENCE, HALF_A_FENCE),
    ),
    Mutant(
        "a step given back without a fence",
        "epochs_only_grow",
        scenes.a_zombie_gives_back,
        one("release_step", FENCE, HALF_A_FENCE),
    ),
    Mutant(
        "an ending after an ending",
        "one_ending",
        scenes.two_steps_end_the_job,
        one("commit_step", "  if job.finished_at is not null then", "  if false then"),
    ),
    Mutant(
        "a story that goes on after its end",
        "one_ending",
        scenes.somebody_talks_after_the_end,
        one("tell_event", " and j.finished_at is null", ""),
    ),
    Mutant(
        "a cancel that leaves a parked step waiting",
        "one_ending",
        scenes.a_parked_job_is_cancelled,
        one("stop_job", "c.state in ('ready', 'waiting')", "c.state = 'ready'"),
    ),
    Mutant(
        "a join that does not wait for the last call",
        "no_gap",
        scenes.parallel_calls_join,
        one("commit_step", "and (j.outstanding = 1 or not p_joining)", ""),
    ),
    Mutant(
        "a step that was rung once is never rung again",
        "no_orphan",
        scenes.a_message_is_lost,
        one("take_due_steps", "if v_rung > lane.depth then", "if false then"),
    ),
    Mutant(
        "the steps of a worker that left stay with it",
        "no_orphan",
        scenes.a_worker_leaves_with_a_step,
        one("recover_lost", "w.state in ('lost', 'stopped')", "w.state = 'lost'"),
    ),
    Mutant(
        "a wait that does not look at what is there",
        "no_lost_wake",
        scenes.a_signal_comes_early,
        one("park_step", "  if p_wait ->> 'kind' = 'signal' then", "  if false then"),
    ),
    Mutant(
        "a signal that does not look who waits",
        "no_lost_wake",
        scenes.a_signal_comes_late,
        one("send_signal", "  if found then\n    perform", "  if false then\n    perform"),
    ),
    Mutant(
        "a signal that does not lock its job",
        "no_lost_wake",
        scenes.a_signal_races_the_wait,
        one("send_signal", "\n     for no key update;", ";"),
    ),
    Mutant(
        "a signal that is taken twice",
        "no_lost_wake",
        scenes.two_waits_for_one_name,
        (
            Edit("park_step", "\n       and s.consumed_at is null", ""),
            Edit("take_signal", " and s.consumed_at is null", ""),
        ),
    ),
    Mutant(
        "a parent that nobody tells of its children",
        "no_lost_wake",
        scenes.a_parent_has_little_time,
        one("tell_parent", "and j.finished_at is null) then", ") then"),
    ),
    Mutant(
        "a question that is answered twice",
        "approval_binds",
        scenes.two_people_answer,
        NO_DOOR_TO_A_WAIT,
    ),
    Mutant(
        "an answer that is used twice",
        "approval_binds",
        scenes.an_answer_outlives_its_worker,
        one("consume_wait", "and w.consumed_at is null ", ""),
    ),
    Mutant(
        "a call that begins under any yes",
        "approval_binds",
        scenes.a_call_is_edited,
        one("start_effect", "if v_is_asked and asked.is_granted is not true", "if false"),
    ),
    Mutant(
        "a yes that is consumed twice",
        "approval_binds",
        scenes.a_worker_dies_over_an_approved_call,
        one("start_effect", "\n       and a.consumed_at is null", ""),
    ),
    Mutant(
        "an effect begun without a fence",
        "no_second_effect",
        scenes.a_zombie_charges,
        one("start_effect", FENCE, ""),
    ),
    Mutant(
        "an effect whose beginning is forgotten",
        "no_second_effect",
        scenes.workers_die_over_a_charge,
        one("claim_step", "step.effect_key, step.effect_epoch,", "step.effect_key, null::int,"),
    ),
    Mutant(
        "an answer that lets every later worker on",
        "no_second_effect",
        scenes.workers_die_over_a_charge,
        one("claim_step", " and w.consumed_at is null", ""),
    ),
    Mutant(
        "a step that is not counted as done",
        "budget_conserved",
        scenes.parallel_calls_join,
        one(
            "commit_step",
            "steps_done = j.steps_done + 1, event_seq = j.event_seq + 1",
            "event_seq = j.event_seq + 1",
        ),
    ),
    Mutant(
        "a budget that has no end",
        "budget_conserved",
        scenes.a_budget_is_spent,
        one("reserve_budget", "> account.cap then", "> account.cap + 1000 then"),
    ),
    Mutant(
        "a budget that keeps what was given back",
        "budget_conserved",
        scenes.a_budget_is_spent,
        one("settle_budget", "set reserved = b.reserved - settled.reserved, spent", "set spent"),
    ),
    Mutant(
        "a budget that is lent twice",
        "budget_conserved",
        scenes.a_parent_lends_to_two,
        one("lend_budgets", "v_left := v_left - v_taken;", "")
        + one("lend_budgets", "v_left - child.wanted_later", "v_left"),
    ),
    Mutant(
        "a child that may take longer than its parent",
        "child_is_less",
        scenes.a_parent_has_little_time,
        one("bear_children", "least(parent.deadline_at, now() +", "coalesce(now() +"),
    ),
    Mutant(
        "a child that forgets where its line came from",
        "child_is_less",
        scenes.a_parent_has_little_time,
        one("bear_children", "parent.origins_above || parent.origin::text", "array['agent']"),
    ),
    Mutant(
        "a child that has more roles than its parent",
        "child_is_less",
        scenes.a_parent_has_little_time,
        one("bear_children", "parent.roles, 'queued'", "parent.roles || 'admin'::text, 'queued'"),
    ),
    Mutant(
        "a child that outlives its parent",
        "child_is_less",
        scenes.a_parent_is_cancelled,
        one("stop_job", "  if job.children > 0 then", "  if false then"),
    ),
    Mutant(
        "a step that is taken from a live worker",
        "slots_return",
        scenes.a_busy_worker_lives,
        one("recover_lost", "w.state in ('lost', 'stopped')", "w.state <> 'draining'"),
    ),
    Mutant(
        "a worker that is given up before its lease is over",
        "slots_return",
        scenes.a_busy_worker_lives,
        one("recover_lost", " - make_interval(secs => p_lease_s)", ""),
    ),
    Mutant(
        "a cancelled step that is still counted",
        "slots_return",
        scenes.a_busy_job_is_cancelled,
        one("stop_job", "set outstanding = j.outstanding - v_stopped", "set event_seq = event_seq"),
    ),
    Mutant(
        "an output that is lost on the way",
        "redis_is_a_hint",
        scenes.a_zombie_commits,
        one("commit_step", "output = p_ending -> 'output'", "output = null"),
    ),
    Mutant(
        "a job that is forgotten while it is under way",
        "admitted_is_kept",
        scenes.old_jobs_are_forgotten,
        one(
            "retire_jobs",
            "and root.outstanding = 0\n       and root.finished_at <",
            "and root.created_at <",
        ),
    ),
    Mutant(
        "a wall with a hole",
        "tenants_are_walled",
        scenes.two_tenants_are_neighbours,
        statement="alter policy tenant_wall on stepwell.signals using (true)",
    ),
    Mutant(
        "a table without its wall",
        "tenants_are_walled",
        scenes.two_tenants_are_neighbours,
        statement="alter table stepwell.waits disable row level security",
    ),
    Mutant(
        "a timer that fires twice",
        "tick_fires_once",
        scenes.two_schedulers_see_a_timer,
        NO_DOOR_TO_A_WAIT,
    ),
    Mutant(
        "a tick that fires twice",
        "tick_fires_once",
        scenes.two_schedulers_see_a_tick,
        one("fire_tick", "and s.next_tick_at = p_from\n     and s.next_at <= now()", "")
        + one(
            "settle_tick",
            "values (p_tenant, p_schedule, p_tick,",
            "values (p_tenant, p_schedule, now(),",
        )
        + one("bear_tick", "'schedule:' || p_schedule || ':'", "gen_random_uuid() || ':'"),
    ),
    Mutant(
        "a tick that fires before its time",
        "tick_fires_once",
        scenes.a_tick_has_time,
        one("fire_tick", "and s.next_at <= now() ", ""),
    ),
    Mutant(
        "a timer that fires before its time",
        "tick_fires_once",
        scenes.a_timer_has_time,
        one("wake_due", "w.state = 'pending' and w.wake_at <= now()", "w.state = 'pending'"),
    ),
)

SCENES = tuple(dict.fromkeys(mutant.scene for mutant in MUTANTS))


class Rotten(AssertionError):
    """The text that a mutant was to replace is not there once: bring the mutant up to date."""


def infect(database: Database, mutant: Mutant) -> None:
    """Break the functions of this database as the mutant says."""
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("set role stepwell_owner")
        for statement in _broken(mutant):
            admin.execute(statement.encode())


def _broken(mutant: Mutant) -> Iterator[str]:
    texts = functions.read_all()
    for edit in mutant.edits:
        times = texts[edit.function].count(edit.old)
        if times != 1:
            raise Rotten(f"{mutant.name}: {edit.old!r} is {times} times in {edit.function}.sql")
        texts[edit.function] = texts[edit.function].replace(edit.old, edit.new)
    yield from (texts[name] for name in dict.fromkeys(edit.function for edit in mutant.edits))
    if mutant.statement:
        yield mutant.statement


def play(database: Database, scene: Scene) -> list[Violation]:
    """Let the scene be played, and hold the laws against what came of it."""
    install(database.admin_url)
    with tempfile.TemporaryDirectory(prefix="sw-m-") as folder:
        stage = Stage(database, Path(folder))
        try:
            scene(stage)
            return check(stage.facts, stage.terms(database))
        finally:
            stage.close()


def is_caught(database: Database, mutant: Mutant) -> bool:
    """Whether the checker names the mutant's law, on a fresh database that is infected with it."""
    infect(database, mutant)
    return mutant.law in {each.law for each in play(database, _until_refused(mutant.scene))}


def _until_refused(scene: Scene) -> Scene:
    """The constraints of the database refuse some of what a broken function then tries to write."""

    def play_on(stage: Stage) -> None:
        with suppress(psycopg.errors.IntegrityError):
            scene(stage)

    return play_on


def run_mutants(
    server: PrivatePostgres, mutants: Iterable[Mutant] = MUTANTS
) -> list[tuple[Mutant, bool]]:
    """Each mutant, on a database of its own on this server, and whether it was caught."""
    template = urls_of(server, TEMPLATE)
    with fresh_database(server, TEMPLATE):
        migrate.upgrade(template.admin_url, template.runtime_url, template.operator_url)
        return [(mutant, _is_caught_on(server, mutant)) for mutant in mutants]


def _is_caught_on(server: PrivatePostgres, mutant: Mutant) -> bool:
    with fresh_database(server, "mutant", of=TEMPLATE) as database:
        return is_caught(database, mutant)


@contextmanager
def fresh_database(
    server: PrivatePostgres, name: str, *, of: str = "template1"
) -> Iterator[Database]:
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {of}".encode())
        try:
            yield urls_of(server, name)
        finally:
            admin.execute(f"drop database {name} with (force)".encode())

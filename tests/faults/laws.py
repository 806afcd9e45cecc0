"""The history checker: every law by its name, held against everything that is known of a world.

    facts     what the world asked for and was promised, its ledger, what its workers noted
    history   every change of every job, kept by the database itself (`history.sql`)
    tables    how things stand now

Each law is a function with the name of its invariant, in one of the `laws_of_*` files. It believes
none of the sources alone: what a caller was told has to be in the history, what the history says in
the tables, and what the tables say in the world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from tests.faults.cases import Book, Case, Outside, Terms, Told, open_as, read_cases
from tests.faults.evidence import SETTLED
from tests.faults.facts import WorldFacts
from tests.faults.laws_of_budgets import budgets_add_up
from tests.faults.laws_of_jobs import (
    admitted_is_kept,
    budget_conserved,
    child_is_less,
    is_lost,
    one_ending,
    redis_is_a_hint,
)
from tests.faults.laws_of_steps import (
    Finding,
    Recovery,
    epochs_only_grow,
    list_recoveries,
    no_gap,
    no_orphan,
    one_commit_per_step,
    slots_return,
)
from tests.faults.laws_of_the_world import (
    no_second_effect,
    open_walled,
    tenants_are_walled,
    ticks_fire_once,
)
from tests.faults.laws_of_waits import approval_binds, no_lost_wake, tick_fires_once

__all__ = [
    "LAWS",
    "Counts",
    "Examined",
    "Recovery",
    "Terms",
    "Told",
    "Violation",
    "check",
    "examine",
]

Law = Callable[[Case], Iterator[Finding]]

LAWS_OF_CASES: tuple[Law, ...] = (
    one_commit_per_step,
    epochs_only_grow,
    one_ending,
    no_gap,
    no_orphan,
    no_lost_wake,
    approval_binds,
    budget_conserved,
    child_is_less,
    slots_return,
    redis_is_a_hint,
    admitted_is_kept,
    tick_fires_once,
)
LAWS = tuple(law.__name__ for law in (*LAWS_OF_CASES, no_second_effect, tenants_are_walled))

AS_AGREED = Terms()


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, and by which job and step, where that can be said."""

    law: str
    job: UUID | None
    seq: int | None
    text: str

    def __str__(self) -> str:
        step = "" if self.seq is None else f", step {self.seq}"
        where = "" if self.job is None else f"job {self.job}{step} "
        return f"{self.law}: {where}{self.text}"


@dataclass
class Counts:
    """What a report says in numbers."""

    jobs: int = 0
    lost: int = 0
    duplicated_commits: int = 0
    repeated_effects: int = 0

    def add(self, case: Case) -> None:
        self.jobs += case.job is not None
        self.lost += is_lost(case)
        self.duplicated_commits += _duplicates(case)


@dataclass
class Examined:
    """What came of holding the laws against a world."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    recoveries: list[Recovery] = field(default_factory=list)


def check(facts: WorldFacts, terms: Terms = AS_AGREED) -> list[Violation]:
    """Every violation of every law; the world must not change meanwhile."""
    return examine(facts, terms).violations


def examine(facts: WorldFacts, terms: Terms = AS_AGREED) -> Examined:
    """Hold every law against the world, and count on the way; everything is read once."""
    examined = Examined()
    outside = Outside(facts, terms)
    with open_as(facts.operator_url, "stepwell_operator") as operator:
        book = Book(operator)
        for case in read_cases(operator, outside, book, terms):
            _judge(case, examined)
        _judge_effects(outside, book, examined)
        for job_id, text in ticks_fire_once(operator):
            examined.violations.append(Violation(tick_fires_once.__name__, job_id, None, text))
        for job_id, text in budgets_add_up(operator):
            examined.violations.append(Violation(budget_conserved.__name__, job_id, None, text))
        runtime_url = terms.runtime_url or facts.admin_url
        with open_walled(runtime_url) as walled, psycopg.connect(facts.admin_url) as admin:
            for text in tenants_are_walled(operator, walled, admin, facts.tenants):
                examined.violations.append(Violation(tenants_are_walled.__name__, None, None, text))
    return examined


def _judge(case: Case, examined: Examined) -> None:
    for law in LAWS_OF_CASES:
        examined.violations.extend(
            Violation(law.__name__, case.job_id, seq, text) for seq, text in law(case)
        )
    examined.counts.add(case)
    examined.recoveries.extend(list_recoveries(case))


def _judge_effects(outside: Outside, book: Book, examined: Examined) -> None:
    for effect, text in no_second_effect(outside.effects, book):
        examined.counts.repeated_effects += 1
        examined.violations.append(
            Violation(no_second_effect.__name__, effect.job_id, effect.seq, text)
        )


def _duplicates(case: Case) -> int:
    """Commits of a step beyond its first, and changes of what was settled."""
    steps = case.changes_of("checkpoints")
    commits = Counter(change.seq for change in steps if change.enters("committed"))
    changed = sum(change.old_state in SETTLED and not change.is_death for change in steps)
    return sum(times - 1 for times in commits.values()) + changed

"""A case: everything that is known of one job, from the tables, the history and the world outside.

Cases are read as one snapshot, in the order of the jobs' ids, from a few cursors that walk in step:
a hundred thousand steps pass by without being held. What is about several jobs at once (a line of
parents and children, a fork and its source) is small, and read beforehand into a `Book`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from tests.faults.evidence import (
    BOOK,
    ENDINGS,
    ROWS,
    Again,
    Approval,
    Job,
    Kin,
    Letter,
    Shared,
    Signal,
    Spent,
    Step,
    Story,
    Wait,
)
from tests.faults.facts import Answered, Asked, Sent, WorldFacts
from tests.faults.history import CONNECT_S_MAX, Change
from tests.faults.ledger import Began, Effect, read_begins, read_effects

ROWS_AT_A_TIME = 2_000

T = TypeVar("T")
Id = TypeVar("Id", UUID, UUID | None)
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Told:
    """A write that the store accepted, as whoever held the claim was told.

    `became` is the state that the step was left in: committed, failed, waiting or ready.
    """

    job_id: UUID
    seq: int
    epoch: int
    became: str
    output: Any = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of a check besides the facts. Seconds are of the database's clock.

    `is_settled`: the world has come to rest, so the laws about how things end apply.
    `is_metered`: every committed model step has a row of usage, rather than at most one.
    `lease_s`: how long a silent worker has to be believed.
    `recovery_s_max`: how soon a step that was taken from a lost worker is to run again.
    `overdue_s_max`: how late a wait may be woken.
    `runtime_url`: the walled login, when it is to be tried itself and not only its role.
    """

    is_settled: bool = True
    is_metered: bool = False
    lease_s: float | None = None
    recovery_s_max: float | None = None
    overdue_s_max: float = 10.0
    runtime_url: str = ""
    told: tuple[Told, ...] = ()


class Book:
    """What is about several jobs at once."""

    def __init__(self, connection: Connection) -> None:
        self.kin = {kin.job_id: kin for kin in _read(connection, Kin)}
        self.children = _by_job(self.kin.values(), lambda kin: kin.parent_job_id)
        self.shared = _by_job(_read(connection, Shared), lambda shared: shared.job_id)
        self.again = {again.key: again.times for again in _read(connection, Again)}


class Outside:
    """What the world knows for certain."""

    def __init__(self, facts: WorldFacts, terms: Terms) -> None:
        self.effects = read_effects(facts.ledger)
        self.asked = {asked.job_id: asked for asked in facts.asked}
        self.sent = _by_job(facts.sent, lambda sent: sent.job_id)
        self.answered = _by_job(facts.answered, lambda answered: answered.job_id)
        self.told = _by_job(terms.told, lambda told: told.job_id)
        self.effects_of = _by_job(self.effects, lambda effect: effect.job_id)
        self.begins = _by_job(read_begins(facts.claims), lambda began: UUID(began.job))

    def jobs(self) -> set[UUID]:
        return {*self.asked, *self.sent, *self.answered, *self.told}


@dataclass
class Case:
    """One job and all that is known of it; `job` is None when only traces of it are left."""

    job_id: UUID
    terms: Terms
    book: Book
    job: Job | None = None
    story: Story | None = None
    letter: Letter | None = None
    steps: dict[int, Step] = field(default_factory=dict)
    waits: dict[tuple[int, int], Wait] = field(default_factory=dict)
    approvals: dict[tuple[int, int], Approval] = field(default_factory=dict)
    signals: dict[UUID, Signal] = field(default_factory=dict)
    spent: set[int] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    asked: Asked | None = None
    sent: list[Sent] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    begins: list[Began] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def changes_of(self, relation: str) -> list[Change]:
        return [change for change in self.changes if change.relation == relation]

    def steps_in(self, *states: str) -> list[Step]:
        return [step for step in self.steps.values() if step.state in states]

    def waits_in(self, *states: str) -> list[Wait]:
        return [wait for wait in self.waits.values() if wait.state in states]

    def take(self, row: Any) -> None:
        """Put a row where it belongs."""
        match row:
            case Change():
                self.changes.append(row)
            case Step():
                self.steps[row.seq] = row
            case Job():
                self.job = row
            case Story():
                self.story = row
            case Wait():
                self.waits[row.seq, row.n] = row
            case Approval():
                self.approvals[row.seq, row.n] = row
            case Signal():
                self.signals[row.id] = row
            case Letter():
                self.letter = row
            case Spent():
                self.spent.add(row.seq)

    def hear(self, outside: Outside) -> None:
        """Take what the world outside knows of this job."""
        self.asked = outside.asked.get(self.job_id)
        self.sent = outside.sent.get(self.job_id, [])
        self.answered = outside.answered.get(self.job_id, [])
        self.told = outside.told.get(self.job_id, [])
        self.begins = outside.begins.get(self.job_id, [])
        self.effects = outside.effects_of.get(self.job_id, [])


def open_as(url: str, role: str) -> Connection:
    """A connection that has taken the role on, and reads one snapshot for as long as it is open."""
    connection = psycopg.connect(url, connect_timeout=CONNECT_S_MAX, options=f"-c role={role}")
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def read_cases(
    connection: Connection, outside: Outside, book: Book, terms: Terms
) -> Iterator[Case]:
    """Every job that left a trace anywhere; those of which nothing is left come last."""
    unseen = outside.jobs()
    streams = [_stream(connection, shape, terms) for shape in ROWS]
    for job_id, rows in groupby(merge(*streams, key=_job_of), key=_job_of):
        unseen.discard(job_id)
        yield _case(Case(job_id, terms, book), rows, outside)
    for job_id in sorted(unseen):
        yield _case(Case(job_id, terms, book), (), outside)


def _case(case: Case, rows: Iterable[Any], outside: Outside) -> Case:
    for row in rows:
        case.take(row)
    case.hear(outside)
    return case


def _job_of(row: Any) -> Any:
    return row.job_id


def _read(connection: Connection, shape: type[T]) -> list[T]:
    with connection.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(BOOK[shape]).fetchall()


def _stream(connection: Connection, shape: type[T], terms: Terms) -> Iterator[T]:
    given = {"overdue": terms.overdue_s_max, "endings": [f"job.{each}" for each in ENDINGS]}
    name = f"every_{shape.__name__.lower()}"
    with connection.cursor(name, row_factory=class_row(shape)) as cursor:
        cursor.itersize = ROWS_AT_A_TIME
        cursor.execute(ROWS[shape], given if "%(" in ROWS[shape] else None)
        yield from cursor


def _by_job(rows: Iterable[T], job_of: Callable[[T], Id]) -> dict[Id, list[T]]:
    found: dict[Id, list[T]] = defaultdict(list)
    for row in rows:
        found[job_of(row)].append(row)
    return dict(found)

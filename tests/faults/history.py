"""What really happened: a history of every change to a job, kept by the database itself.

The tables say how things stand; a law such as "committed bytes never change" is about how they came
to stand so. `history.sql` puts triggers on the tables that a job moves through: each change becomes
a row of `stepwell_history.changes` in the transaction that made it, so the history survives what
the data survives, and lacks what was rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

CONNECT_S_MAX = 10


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row. What an insert changed from, and a delete to, is None.

    `state` is a job's status; `output` the MD5 of what a job, step or wait came to; `closed` the
    moment it did. `seq` and `n` are the step and the wait; of a signal, those that took it.
    """

    number: int
    at: datetime
    transaction: int
    relation: str
    verb: str
    job_id: UUID
    seq: int | None = None
    n: int | None = None
    id: UUID | None = None
    parent_seq: int | None = None
    old_state: str | None = None
    new_state: str | None = None
    old_epoch: int | None = None
    new_epoch: int | None = None
    old_worker: UUID | None = None
    new_worker: UUID | None = None
    old_output: UUID | None = None
    new_output: UUID | None = None
    old_error: UUID | None = None
    new_error: UUID | None = None
    old_closed: datetime | None = None
    new_closed: datetime | None = None
    old_consumed: datetime | None = None
    new_consumed: datetime | None = None
    old_effect_epoch: int | None = None
    new_effect_epoch: int | None = None
    # Something that is written once (an input, a parent, a prompt) was written again.
    is_rewritten: bool = False
    # A step was taken from its worker; how that worker's row stood at this moment.
    is_loss: bool = False
    worker_state: str | None = None
    worker_beaten_at: datetime | None = None

    @property
    def is_birth(self) -> bool:
        return self.verb == "INSERT"

    @property
    def is_death(self) -> bool:
        return self.verb == "DELETE"

    def enters(self, *states: str) -> bool:
        """Whether this brought the row into one of these states, from another or from nothing."""
        return self.new_state in states and self.old_state != self.new_state

    def leaves(self, *states: str) -> bool:
        return self.old_state in states and self.old_state != self.new_state


def install(admin_url: str) -> None:
    """Begin the history of a migrated database; doing it again changes nothing."""
    statements = Path(__file__).with_suffix(".sql").read_bytes()
    with psycopg.connect(admin_url, connect_timeout=CONNECT_S_MAX) as admin:
        admin.execute(statements)

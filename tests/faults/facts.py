"""What a world knows for certain: what it asked for and was promised, sent, answered and struck.

It is all that a history checker is given, besides the tables and the files the world has written.
Moments (`at`) are seconds of the machine's monotonic clock, which all processes share and no fault
touches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

Outcome = Literal["completed", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A submission that was acknowledged.

    `expected` is the output when it completes; `outcomes` are the endings that are right for it.
    `fault` and `transition` are the cell of the matrix it belongs to, both empty for the others.
    """

    tenant_id: UUID
    job_id: UUID
    program: str
    input: dict[str, Any]
    expected: Any
    outcomes: tuple[Outcome, ...] = ("completed",)
    fault: str = ""
    transition: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal that was acknowledged."""

    tenant_id: UUID
    job_id: UUID
    signal_id: UUID
    name: str
    payload: Any
    at: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A question that somebody has answered; for `reconcile` the answer is what the ledger says."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    n: int
    kind: str
    answer: Any
    at: float


@dataclass(frozen=True, slots=True)
class Struck:
    """A job that a fault has hit: when, and when the fault was over.

    A kill is over at once, and so is whatever does not end by itself; an outage is over when the
    server answers again. `step` is the one that was at work, if any.
    """

    job_id: UUID
    fault: str
    transition: str
    at: float
    healed_at: float
    step: int | None = None


@dataclass
class WorldFacts:
    """Everything a checker needs.

    `ledger` and `claims` are files of JSON lines: see `ledger.py` for their shapes.
    """

    admin_url: str
    operator_url: str
    ledger: Path
    claims: Path
    tenants: tuple[UUID, ...]
    asked: list[Asked] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)

"""The shapes of what is outside: dependencies with their gates, and what if one were slower."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from broker.gate_states import GateState, Usual
from broker.what_if import Affected, Backlog, Outlook


class GateIs(StrEnum):
    """Whether calls to it go."""

    OPEN = "open"
    SHUT = "shut"
    PROBING = "probing"
    # No call has gone there within a day.
    UNUSED = "unused"


class Use(BaseModel):
    """Who calls it: an agent's `model`, or one of its tools or steps."""

    agent: str
    by: str
    is_optional: bool = Field(description="whether the agent does without when it is slow or fails")


class Took(BaseModel):
    """How long it usually takes, in seconds, and when a call is given up; null: not known yet."""

    p50_s: float | None
    p99_s: float | None
    timeout_s: float | None = Field(
        description="three times the slowest of a hundred; the agent's own limit may be shorter"
    )

    @classmethod
    def of(cls, usual: Usual | None, timeout_s: float | None) -> Took | None:
        if usual is None:
            return None
        return cls(p50_s=usual.p50_s, p99_s=usual.p99_s, timeout_s=timeout_s)


class Counted(BaseModel):
    """What happened in the last hour. A slow one is also ok."""

    calls: int = 0
    ok: int = 0
    slow: int = 0
    failed: int = 0
    rate_limited: int = 0
    quota: int = 0
    turned_away: int = Field(default=0, description="how often a step was told to come back later")

    @classmethod
    def of(cls, gate: GateState) -> Counted:
        return cls(
            **{
                name: round(sum(getattr(minute, name) for minute in gate.minutes))
                for name in cls.model_fields
            }
        )


class Dependency(BaseModel):
    """Something outside that steps call, and the gate before it, which all workers share."""

    object: Literal["dependency"] = "dependency"
    name: str
    used_by: list[Use] = Field(description="as far as agents that are served here say")
    state: GateIs
    reason: str | None = Field(
        description="why it is not open: `rate_limited`, `quota`, `breaker` or `slow`"
    )
    until: datetime | None = Field(description="when it is tried again")
    limit: int | None = Field(description="how many calls go at once, learned")
    in_flight: int
    waiting: int = Field(description="steps that were told to come back; they hold no worker")
    first_token: Took | None
    total: Took | None
    amplification: float | None = Field(
        description="calls on the wire for each that was wanted, over ten minutes"
    )
    is_amplified: bool = Field(description="whether that is more than it should ever be")
    last_hour: Counted

    @classmethod
    def of(cls, name: str, used_by: list[Use], gate: GateState | None) -> Dependency:
        if gate is None:
            return cls(
                name=name,
                used_by=used_by,
                state=GateIs.UNUSED,
                reason=None,
                until=None,
                limit=None,
                in_flight=0,
                waiting=0,
                first_token=None,
                total=None,
                amplification=None,
                is_amplified=False,
                last_hour=Counted(),
            )
        return cls(
            name=name,
            used_by=used_by,
            state=GateIs(gate.standing.value),
            reason=gate.reason or None,
            until=_moment_in(gate.shut_for_s),
            limit=gate.limit,
            in_flight=gate.in_flight,
            waiting=gate.waiting,
            first_token=Took.of(gate.first, gate.first_timeout_s),
            total=Took.of(gate.total, gate.total_timeout_s),
            amplification=gate.amplification(),
            is_amplified=gate.is_amplified,
            last_hour=Counted.of(gate),
        )


class BacklogThen(BaseModel):
    """How many steps would wait at a limit, and the last of them for how many seconds."""

    limit: int
    waiting: int
    wait_s: float

    @classmethod
    def of(cls, backlog: Backlog) -> BacklogThen:
        return cls(limit=backlog.limit, waiting=backlog.waiting, wait_s=backlog.wait_s)


class Other(BaseModel):
    """Another dependency, and how many times as long its calls would take; null: none would go."""

    name: str
    slots_needed: float
    times_as_long: float | None

    @classmethod
    def of(cls, affected: Affected) -> Other:
        return cls(
            name=affected.dependency,
            slots_needed=affected.slots_needed,
            times_as_long=affected.times_as_long,
        )


class WhatIf(BaseModel):
    """What would happen if a dependency took `factor` times as long, by the load of the last hour.

    `calls_per_s` is that of the busiest minute.
    """

    object: Literal["what_if"] = "what_if"
    name: str
    factor: float
    used_by: list[Use]
    calls_per_s: float
    usual_s: float | None
    then_s: float | None
    slots: int = Field(description="calls that all live workers can make at once")
    slots_wanted: float = Field(description="what its calls would hold without a gate")
    slots_held: float = Field(description="what they would hold")
    backlogs: list[BacklogThen]
    others: list[Other]
    sentences: list[str] = Field(description="the same in words")

    @classmethod
    def of(cls, seen: Outlook, used_by: list[Use]) -> WhatIf:
        return cls(
            name=seen.dependency,
            factor=seen.factor,
            used_by=used_by,
            calls_per_s=seen.calls_per_s,
            usual_s=seen.usual_s,
            then_s=seen.then_s,
            slots=seen.slots,
            slots_wanted=seen.slots_wanted,
            slots_held=seen.slots_held,
            backlogs=[BacklogThen.of(each) for each in seen.backlogs],
            others=[Other.of(each) for each in seen.others],
            sentences=list(seen.sentences),
        )


def _moment_in(seconds: float) -> datetime | None:
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds > 0 else None

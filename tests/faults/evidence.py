"""Evidence: the rows of the tables, as far as a law looks at them, and the queries for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.faults.history import Change

ENDINGS = ("completed", "failed", "cancelled", "expired")
SETTLED = ("committed", "failed", "cancelled")
QUESTIONS = ("question", "reconcile", "review")


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `jobs`."""

    tenant_id: UUID
    job_id: UUID
    status: str
    waiting_for: str | None
    outstanding: int
    steps_done: int
    next_seq: int
    event_seq: int
    cancel_requested_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    parent_job_id: UUID | None
    parent_seq: int | None
    root_id: UUID
    depth: int
    children: int
    forked_from: UUID | None
    output: Any
    # Past its deadline by more than the terms allow.
    is_late: bool

    @property
    def is_ended(self) -> bool:
        return self.status in ENDINGS

    @property
    def is_asking(self) -> bool:
        return self.status == "input_required" and self.waiting_for is not None


@dataclass(frozen=True, slots=True)
class Step:
    """A row of `checkpoints`; `args` are those of a tool call."""

    job_id: UUID
    seq: int
    parent_seq: int | None
    kind: str
    name: str
    state: str
    epoch: int
    worker_id: UUID | None
    worker_state: str | None
    waits: int
    effect_epoch: int | None
    args: Any
    output: Any
    output_md5: UUID | None


@dataclass(frozen=True, slots=True)
class Wait:
    """A row of `waits`; `is_overdue` by as much as the terms allow."""

    job_id: UUID
    seq: int
    n: int
    kind: str
    name: str
    prompt: Any
    state: str
    result: Any
    wake_at: datetime | None
    is_overdue: bool
    consumed_epoch: int | None


@dataclass(frozen=True, slots=True)
class Approval:
    """A row of `approvals`, with how many people have said yes to what it shows."""

    job_id: UUID
    seq: int
    n: int
    args: Any
    state: str
    ending: str | None
    quorum: int
    is_consumed: bool
    yes: int


@dataclass(frozen=True, slots=True)
class Signal:
    """A row of `signals`."""

    job_id: UUID
    id: UUID
    key: str | None
    name: str
    payload: Any
    consumed_seq: int | None
    consumed_n: int | None


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of `dead_letters`."""

    job_id: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Story:
    """The events of a job: how many, the last, the endings told, and how steps came in."""

    job_id: UUID
    count: int
    last: int
    ending_ids: list[int]
    ending_types: list[str]
    completed: int
    completed_steps: int
    failed: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A row of `usage`."""

    job_id: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Kin:
    """A job that has a parent or children, as its relatives see it."""

    tenant_id: UUID
    job_id: UUID
    parent_job_id: UUID | None
    parent_seq: int | None
    root_id: UUID
    depth: int
    deadline_at: datetime | None
    is_ended: bool
    # The origins of those above it; with its own at the end; who asked, with which roles.
    origins_above: list[str]
    origins: list[str]
    asked_by: str


@dataclass(frozen=True, slots=True)
class Shared:
    """A committed step that a fork was to share, beside what the fork has in its place."""

    job_id: UUID
    seq: int
    output_md5: UUID | None
    own_state: str | None
    own_output_md5: UUID | None


@dataclass(frozen=True, slots=True)
class Again:
    """How often a person said that the effect of this key is to be run again."""

    key: str
    times: int


# What concerns several jobs at once.
BOOK: dict[type[Any], str] = {
    Kin: """
        select tenant_id, id as job_id, parent_job_id, parent_seq, root_id, depth, deadline_at,
               finished_at is not null as is_ended, origins_above,
               origins_above || origin::text as origins,
               jsonb_build_array(requester, roles)::text as asked_by
          from stepwell.jobs where parent_job_id is not null or children > 0
    """,
    Shared: """
        select fork.id as job_id, source.seq, md5(source.output::text)::uuid as output_md5,
               own.state as own_state, md5(own.output::text)::uuid as own_output_md5
          from stepwell.jobs fork
          join stepwell.checkpoints source
            on source.tenant_id = fork.tenant_id and source.job_id = fork.forked_from
           and source.state = 'committed'
          left join stepwell.checkpoints own
            on own.tenant_id = fork.tenant_id and own.job_id = fork.id and own.seq = source.seq
         where source.seq < fork.forked_from_seq
            or exists (select from stepwell.dead_letters l
                        where l.tenant_id = fork.tenant_id and l.replayed_as = fork.id)
    """,
    Again: """
        select coalesce(c.effect_key, c.job_id::text || ':' || c.seq) as key, count(*) as times
          from stepwell.waits w
          join stepwell.checkpoints c using (tenant_id, job_id, seq)
         where w.kind = 'reconcile' and w.state = 'answered'
           and 'again' in (w.result #>> '{}', w.result ->> 'decision')
         group by 1
    """,
}

# Everything else, in the order of the jobs.
ROWS: dict[type[Any], str] = {
    Job: """
        select tenant_id, id as job_id, status, waiting_for, outstanding, steps_done, next_seq,
               event_seq, cancel_requested_at, finished_at, deadline_at, parent_job_id, parent_seq,
               root_id, depth, children, forked_from, output,
               coalesce(deadline_at < now() - make_interval(secs => %(overdue)s), false) as is_late
          from stepwell.jobs order by id
    """,
    Step: """
        select c.job_id, c.seq, c.parent_seq, c.kind, c.name, c.state, c.epoch, c.worker_id,
               w.state as worker_state, c.waits, c.effect_epoch, c.input -> 'args' as args,
               c.output, md5(c.output::text)::uuid as output_md5
          from stepwell.checkpoints c left join stepwell.workers w on w.id = c.worker_id
         order by c.job_id, c.seq
    """,
    Wait: """
        select job_id, seq, n, kind, name, prompt, state, result, wake_at, consumed_epoch,
               coalesce(wake_at < now() - make_interval(secs => %(overdue)s), false) as is_overdue
          from stepwell.waits order by job_id, seq, n
    """,
    Approval: """
        select a.job_id, a.seq, a.n, a.args, a.state, a.ending, a.quorum,
               a.consumed_at is not null as is_consumed,
               (select count(*) from stepwell.decisions d
                 where d.tenant_id = a.tenant_id and d.job_id = a.job_id and d.seq = a.seq
                   and d.n = a.n and d.decision = 'approve'
                   and d.args_sha256 = a.args_sha256) as yes
          from stepwell.approvals a order by a.job_id, a.seq, a.n
    """,
    Signal: """
        select job_id, id, key, name, payload, consumed_seq, consumed_n
          from stepwell.signals order by job_id, sent_at
    """,
    Letter: "select job_id, seq from stepwell.dead_letters order by job_id",
    Story: """
        select job_id, count(*) as count, max(id) as last,
               coalesce(array_agg(id order by id) filter (where type = any(%(endings)s)), '{}')
                 as ending_ids,
               coalesce(array_agg(type order by id) filter (where type = any(%(endings)s)), '{}')
                 as ending_types,
               count(*) filter (where type = 'step.completed') as completed,
               count(distinct data ->> 'seq') filter (where type = 'step.completed')
                 as completed_steps,
               count(*) filter (where type = 'step.failed') as failed
          from stepwell.events group by job_id order by job_id
    """,
    Spent: "select job_id, seq from stepwell.usage order by job_id",
    Change: "select * from stepwell_history.changes order by job_id, number",
}


def as_json(value: Any) -> Any:
    """The value as it comes back from being kept."""
    return json.loads(json.dumps(value))

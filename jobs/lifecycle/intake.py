"""Intake: the only door in. A job is checked, stored with its first step, and rung for.

Everything that can be wrong with a request is found before anything is written; the job and its
first step then appear in one transaction. The bell is rung after it, when nobody of its class waits
and the lane has room; otherwise, or when Redis is away, the dispatch round rings in its turn.

What there is no room for (see admission.py) is refused before it exists, and leaves an audit line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from uuid import UUID

from pydantic import ValidationError
from uuid_utils.compat import uuid7

from broker.envelope import Envelope
from broker.lanes import lane_of
from jobs.agent.agent import Agent
from jobs.agent.model import check_model_name
from jobs.agent.registry import Program
from jobs.errors import (
    IdempotencyMismatch,
    InvalidInput,
    Overloaded,
    OverQuota,
    UnknownModel,
    UnknownTenant,
)
from jobs.lifecycle import admission
from jobs.lifecycle.admission import WELCOME_EARLY_S as EARLY_S
from jobs.lifecycle.admission import WELCOME_LATE_S as LATE_S
from jobs.lifecycle.admission import Asked, Code, Refuse
from jobs.lifecycle.budgeting import check_budget, open_accounts
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.guard_rounds import take_in
from store import guard_verdicts, jobs, load, refusals
from store.budgets import Caps
from store.errors import NotFound
from store.jobs import NewJob
from store.jsonb import keepable
from store.load import Line
from store.rows import JobRow
from store.states import JobClass, Origin

INPUT_BYTES_MAX = 1024 * 1024
KEY_CHARS_MAX = 255
# What the keys of ticks begin with: somebody else's would take the place of a job to come.
TICKS = "schedule:"


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody asks for, before it is checked."""

    agent: str
    input: dict[str, Any]
    model: str | None = None
    job_class: JobClass = JobClass.DEFAULT
    idempotency_key: str | None = None
    origin: Origin = Origin.API
    requester: str | None = None
    roles: tuple[str, ...] = ()
    deadline_s: float | None = None
    # The most that it may use, which is no more than the agent allows.
    budget: Caps = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job, and whether this submission made it or an earlier one with the same key."""

    job: JobRow
    created: bool


def submit(desk: Desk, tenant_id: UUID, submission: Submission) -> Submitted:
    """Take a job in.

    Raises a `Refused` when the caller has to change something; of these, `Overloaded` and
    `OverQuota` say that it has to come back later.
    """
    program = desk.registry.find(submission.agent)
    asked, spoken = check_and_guard(program, submission.input)
    check_model(program, submission.model)
    check_budget(program, submission.budget)
    first_steps = program.first_steps()
    work = first_steps[0].work
    has_room = desk.gauge.has_room(lane_of(submission.job_class, work), desk.tally.depth_of(work))
    new = NewJob(
        tenant_id=tenant_id,
        id=uuid7(),
        agent=program.name,
        agent_version=program.version,
        model=submission.model,
        job_class=submission.job_class,
        origin=submission.origin,
        requester=submission.requester,
        roles=submission.roles,
        input=asked,
        idempotency_key=check_key(submission.idempotency_key),
        request_sha256=fingerprint(submission),
        first_steps=first_steps,
        deadline_in_s=earliest(submission.deadline_s, program.deadline_s),
    )
    created = earlier = None
    with desk.doors.as_tenant(tenant_id) as tx:
        line = desk.lines.find(
            tenant_id, new.job_class, lambda: load.read_line(tx, tenant_id, new.job_class)
        )
        if line is None:
            raise UnknownTenant(tenant_id)
        outlook = look_ahead(desk, new, line)
        if outlook.refusal is not None and refusals.is_expected(
            tx, tenant_id, new.request_sha256 or "", early_s=EARLY_S, late_s=LATE_S
        ):
            outlook = look_ahead(desk, new, line, is_expected=True)
        if outlook.refusal is None:
            new = replace(new, is_rung=has_room and outlook.is_free)
            created = jobs.create(tx, new)
            if created is not None:
                open_accounts(tx, created, program, submission.budget)
                if spoken:
                    guard_verdicts.keep_first(tx, tenant_id, new.id, spoken)
        if created is None and new.idempotency_key is not None:
            # Whoever asks again for a job that is there asks for nothing new.
            earlier = jobs.find_by_key(tx, new.idempotency_key)
    if earlier is not None:
        return Submitted(_replayed(earlier, new), False)
    if created is None:
        refuse(desk, new, outlook.refusal)
    announce(desk, new)
    return Submitted(created, True)


def announce(desk: Desk, new: NewJob) -> None:
    """Ring for the first steps of a job, or count them among those that wait for their turn."""
    if new.is_rung:
        desk.bell.ring(
            [
                Envelope(new.tenant_id, new.id, n, step.name, new.job_class, step.work)
                for n, step in enumerate(new.first_steps, start=1)
            ]
        )
    else:
        desk.tally.add(new.tenant_id, new.job_class, len(new.first_steps))


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a job is taken on, and whether nobody of its class waits before it."""

    refusal: Refuse | None
    is_free: bool


def look_ahead(desk: Desk, new: NewJob, line: Line, *, is_expected: bool = False) -> Outlook:
    """What a new job would come to, behind this line."""
    let = desk.tally.read(line, new.tenant_id, new.job_class)
    asked = Asked(new.agent, new.job_class, new.deadline_in_s)
    refusal = admission.decide(line, asked, desk.limits, let, is_expected=is_expected)
    # Where nobody counts, nobody may be dispatching either: then the lane's room decides.
    is_free = not admission.is_known(line) or line.its_class.waiting + let.in_class == 0
    return Outlook(refusal, is_free)


def refuse(desk: Desk, new: NewJob, refusal: Refuse | None) -> NoReturn:
    """Leave the audit line, and nothing else; raise what the caller is told."""
    if refusal is None:
        raise NotFound(f"The job of the idempotency key {new.idempotency_key!r} has just gone.")
    with desk.doors.as_tenant(new.tenant_id) as tx:
        refusals.note(
            tx,
            refusals.Refusal(
                tenant_id=new.tenant_id,
                id=uuid7(),
                job_class=new.job_class,
                agent=new.agent,
                code=refusal.code.value,
                reason=refusal.reason,
                request_sha256=new.request_sha256 or "",
                retry_after_s=refusal.retry_after_s,
            ),
        )
    desk.tally.promise(new.tenant_id, new.job_class)
    kind = OverQuota if refusal.code is Code.QUOTA else Overloaded
    raise kind(
        f"{refusal.reason} Nothing was created; ask again in {refusal.retry_after_s:,.0f} s.",
        refusal.retry_after_s,
    )


def check_and_guard(
    program: Program, given: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The input as it may be taken, and what the agent's guards said. Raises `InvalidInput`."""
    return take_in(program, check_shape(program, given))


def check_input(program: Program, given: dict[str, Any]) -> dict[str, Any]:
    """The input as it may be taken; raises `InvalidInput`."""
    return check_and_guard(program, given)[0]


def check_shape(program: Program, given: dict[str, Any]) -> dict[str, Any]:
    """The input as JSON that fits the agent; raises `InvalidInput` naming every field at fault."""
    try:
        asked = program.input_type.model_validate(given)
    except ValidationError as error:
        found = [
            {"loc": list(each["loc"]), "msg": each["msg"]}
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        named = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in found)
        raise InvalidInput(f"The input does not fit {program.name!r}: {named}.", found) from None
    try:
        written = asked.model_dump(mode="json")
        text = json.dumps(written, allow_nan=False)
    except (ValueError, RecursionError):
        raise InvalidInput(
            "The input is nested too deeply, or is not JSON (a number is not finite?)."
        ) from None
    if len(text) > INPUT_BYTES_MAX:
        raise InvalidInput(
            f"The input has {len(text):,} bytes; at most {INPUT_BYTES_MAX:,} are taken. "
            "Upload large data as a file and name it by its id."
        )
    if keepable(written) != written:
        raise InvalidInput(
            "The input has a NUL character, or half of a surrogate pair, which cannot be kept."
        )
    return written


def check_model(program: Program, name: str | None) -> None:
    """Raise `UnknownModel` for a model name nothing can be made of."""
    if name is None:
        return
    if not isinstance(program, Agent):
        raise UnknownModel(f"{program.name!r} is a pipeline and uses no model.")
    check_model_name(program, name)


def earliest(*limits_s: float | None) -> float | None:
    """The first of the deadlines that are there."""
    return min((limit_s for limit_s in limits_s if limit_s is not None), default=None)


def check_key(key: str | None) -> str | None:
    """The idempotency key, if it is one."""
    if key is not None and not (0 < len(key) <= KEY_CHARS_MAX and key.isprintable()):
        raise InvalidInput(f"An idempotency key has 1 to {KEY_CHARS_MAX} printable characters.")
    if key is not None and key.startswith(TICKS):
        raise InvalidInput(f"Idempotency keys that begin with {TICKS!r} are those of schedules.")
    return key


def fingerprint(submission: Submission) -> str:
    """The same for the same request, whatever its key and the order of its fields."""
    face: list[Any] = [
        submission.agent,
        submission.input,
        submission.model,
        submission.job_class,
    ]
    if submission.deadline_s is not None:
        # Left out when there is none, so that keys of requests from before there were any hold.
        face.append(submission.deadline_s)
    if submission.budget:
        face.append({unit.value: f"{cap:f}" for unit, cap in submission.budget.items()})
    return hashlib.sha256(json.dumps(face, sort_keys=True, default=str).encode()).hexdigest()


def _came_by(job: JobRow | NewJob) -> tuple[str | None, Origin, frozenset[str]]:
    return job.requester, Origin(job.origin), frozenset(job.roles)


def _replayed(earlier: JobRow, new: NewJob) -> JobRow:
    if earlier.request_sha256 != new.request_sha256:
        raise IdempotencyMismatch(
            f"The idempotency key {new.idempotency_key!r} was used for another request "
            f"(job {earlier.id}). Use a new key."
        )
    if _came_by(earlier) != _came_by(new):
        raise IdempotencyMismatch(
            f"The idempotency key {new.idempotency_key!r} was used by somebody else, through "
            f"another door or with other roles (job {earlier.id}). Use a new key."
        )
    return earlier

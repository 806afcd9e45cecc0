"""Claim, start, commit, park, release: the moves of a step, each one call of a function in `sql/`.

Every write carries the epoch of its claim. A caller whose epoch is no longer the latest is told so
by a `None` or `False`, having written nothing: it stops, whatever it was doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from store.doors import HotConnection
from store.invocation import Invocation
from store.jsonb import write_json
from store.rows import ApprovalRow
from store.states import JobStatus, Origin, StepKind, StepState, WaitKind, WaitState, Work


@dataclass(frozen=True, slots=True)
class Woken:
    """What a step was woken by. `fallback` is `{"value": ...}` where the wait had a default."""

    n: int
    kind: WaitKind
    name: str
    state: WaitState
    result: Any
    fallback: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one step, and everything the step needs to run."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    worker_id: UUID
    kind: StepKind
    name: str
    work: Work
    epoch: int
    attempts: int
    losses: int
    input: Any
    parent_seq: int | None
    parent_output: Any
    agent: str
    agent_version: str
    model: str | None
    job_class: str
    origin: str
    job_input: dict[str, Any]
    effect_key: str | None = None
    # The claim under which the step's effect was begun; None: it certainly was not.
    effect_epoch: int | None = None
    woken: Woken | None = None
    parent_job_id: UUID | None = None
    # Seconds until the job's deadline, when it was claimed.
    deadline_in_s: float | None = None
    # Written down when the step last went back: the error of its last try, or why it waits.
    note: dict[str, Any] | None = None
    # How the job came to be: see `invocation`.
    origins_above: Sequence[str] = ()
    root_id: UUID | None = None
    requester: str | None = None
    roles: Sequence[str] = ()
    # Whether there is a budget that its steps are counted against.
    is_budgeted: bool = False
    # The question about the call that was answered with yes; the call is made with what it showed.
    granted: ApprovalRow | None = None

    @property
    def invocation(self) -> Invocation:
        """How the job came to be, which decides what it may do."""
        return Invocation(
            origin=Origin(self.origin),
            origins_above=tuple(map(Origin, self.origins_above)),
            root_id=self.root_id or self.job_id,
            parent_job_id=self.parent_job_id,
            requester=self.requester,
            roles=frozenset(self.roles),
        )

    @property
    def key(self) -> str:
        """What the world knows the step's effect by: the same at every try, and in a replay."""
        return self.effect_key or f"{self.job_id}:{self.seq}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A step to come. `input` is JSON; `name` is what Flower and people see.

    `approval` is what people are asked before it may run (see `store.approvals.Asking`).
    """

    kind: StepKind
    name: str
    work: Work
    input: Any = None
    approval: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewChild:
    """A job that a step asks for. `input` is JSON that fits the agent."""

    id: UUID
    agent: str
    agent_version: str
    input: dict[str, Any]
    steps: tuple[Plan, ...]
    deadline_in_s: float | None = None
    # The most that it may use of each unit, in the words of the store; its parent's bounds it too.
    budget: Mapping[str, str] | None = None
    # Whether a text from outside may have written the input, and no person has seen it; by default
    # it may when its parent has read one.
    input_tainted: bool | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step is parked on. It ends, at the latest, at `wake_at` or after `wake_in_s`.

    `prompt` is what a person is shown; `fallback` is `{"value": ...}` when nobody answering in time
    has a meaning of its own.
    """

    kind: WaitKind
    name: str
    prompt: dict[str, Any] | None = None
    wake_in_s: float | None = None
    wake_at: datetime | None = None
    fallback: dict[str, Any] | None = None
    children: tuple[NewChild, ...] = ()
    approval: dict[str, Any] | None = None
    # What guards have said in the step by now.
    guards: Sequence[dict[str, Any]] = ()
    # Where texts came from that the step hands on and nobody here wrote.
    taints: Sequence[str] = ()


class Start(StrEnum):
    """Whether an effect may begin. `ask`: nobody has said yes to exactly this call."""

    GO = "go"
    STOP = "stop"
    ASK = "ask"


class Parked(StrEnum):
    """What became of a step that asked to be parked."""

    PARKED = "parked"
    WOKEN = "woken"
    STOPPED = "stopped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: with an output, or with an error and the reason class."""

    status: JobStatus
    output: Any = None
    error: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model step spent. An unknown price is None."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a step came to, and what follows. The plan and the ending exclude each other."""

    state: StepState
    event: dict[str, Any]
    output: Any = None
    error: dict[str, Any] | None = None
    usage: Usage | None = None
    plan: tuple[Plan, ...] = ()
    is_joining: bool = False
    is_inline: bool = False
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the commit did: the first of the step numbers it planned, and how many."""

    job_status: JobStatus
    first_seq: int
    planned: int


_CLAIM = "select * from stepwell.claim_step(%b, %b, %b, %b, %b)"
_COMMIT = (
    "select * from stepwell.commit_step(%b, %b, %b, %b, %b, %s, %s, %s, %s, %s, %s, %b, %b, %s)"
)
_COMMIT_BUDGETED = _COMMIT.replace("commit_step", "commit_budgeted")
_RELEASE = "select stepwell.release_step(%b, %b, %b, %b, %b, %b, %s, %s, %b)"
_START = "select stepwell.start_effect(%b, %b, %b, %b, %s, %s)"
_PARK = "select stepwell.park_step(%b, %b, %b, %b, %s, %s, %s)"
_TELL_PARENT = "select job_id, seq, name, job_class, work from stepwell.tell_parent(%b, %b)"
_TELL = "select stepwell.tell_event(%b, %b, %s, %s)"


def claim(
    connection: HotConnection,
    tenant_id: UUID,
    job_id: UUID,
    seq: int,
    worker_id: UUID,
    *,
    is_told: bool = True,
) -> Claim | None:
    """Take the step for this worker, or None when it is not to be had.

    `is_told` writes the start into the job's story; a job's first step is always told of.
    """
    row = connection.execute(_CLAIM, (tenant_id, job_id, seq, worker_id, is_told)).fetchone()
    if row is None:
        return None
    # In the order of the claim's fields, but that six columns in the middle say what woke it.
    kind, name, work, *step = row[:17]
    woken = None if row[17] is None else _woken(*row[17:23])
    found = (StepKind(kind), name, Work(work), *step, woken, *row[23:])
    return Claim(tenant_id, job_id, seq, worker_id, *found)


def _woken(
    n: int, kind: str, name: str, state: str, result: Any, fallback: dict[str, Any] | None
) -> Woken:
    return Woken(n, WaitKind(kind), name, WaitState(state), result, fallback)


def start_effect(connection: HotConnection, held: Claim) -> Start | None:
    """Mark that the step's effect begins now; None when the claim is not the latest.

    The approval that it begins under is consumed in the same statement.
    """
    told = held.granted
    shown = (None, None) if told is None else (told.args_sha256, told.tool_sha256)
    step = (held.tenant_id, held.job_id, held.seq, held.epoch)
    row = connection.execute(_START, (*step, *shown)).fetchone()
    return None if row is None or row[0] is None else Start(row[0])


def park(
    connection: HotConnection,
    held: Claim,
    wait: Wait,
    *,
    depth_max: int,
    descendants_max: int,
    children_max: int | None = None,
) -> Parked | None:
    """Let go of the step until what it waits for comes; None when the claim is not the latest.

    Children that would be deeper or more than the bounds are refused, and the step goes on.
    """
    bounds = {"depth": depth_max, "descendants": descendants_max, "children": children_max}
    row = connection.execute(
        _PARK,
        (
            held.tenant_id,
            held.job_id,
            held.seq,
            held.epoch,
            _wait_json(wait),
            _children_json(wait.children),
            write_json(bounds),
        ),
    ).fetchone()
    return None if row is None or row[0] is None else Parked(row[0])


def commit(connection: HotConnection, held: Claim, settlement: Settlement) -> Settled | None:
    """Settle the step and plan what follows, or None when the claim is not the latest."""
    row = connection.execute(
        _COMMIT_BUDGETED if held.is_budgeted else _COMMIT,
        (
            held.tenant_id,
            held.job_id,
            held.seq,
            held.epoch,
            held.worker_id,
            settlement.state.value,
            _json(settlement.output),
            _json(settlement.error),
            write_json(settlement.event),
            None if settlement.usage is None else write_json(asdict(settlement.usage)),
            _plan_json(settlement.plan),
            settlement.is_joining,
            settlement.is_inline,
            None if settlement.ending is None else _ending_json(settlement.ending),
        ),
    ).fetchone()
    if row is None or not row[0]:
        return None
    return Settled(JobStatus(row[1]), row[2], row[3])


def release(
    connection: HotConnection,
    held: Claim,
    *,
    delay_s: float,
    reason: str,
    is_failed_try: bool = False,
    is_undone: bool = False,
    error: dict[str, Any] | None = None,
) -> bool:
    """Give the step back to be claimed again after the delay; False when it is not ours.

    `is_undone` says that the effect it began has certainly not happened.
    """
    row = connection.execute(
        _RELEASE,
        (
            held.tenant_id,
            held.job_id,
            held.seq,
            held.epoch,
            delay_s,
            is_failed_try,
            reason,
            _json(error),
            is_undone,
        ),
    ).fetchone()
    return bool(row and row[0])


def tell_parent(
    connection: HotConnection, tenant_id: UUID, child_id: UUID
) -> tuple[UUID, int, str, str, str] | None:
    """Tell the parent of an ended job; the step that is ready now, if that was the last child.

    As (job id, seq, name, class, work).
    """
    row = connection.execute(_TELL_PARENT, (tenant_id, child_id)).fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


def tell(
    connection: HotConnection, tenant_id: UUID, job_id: UUID, kind: str, data: dict[str, Any]
) -> None:
    """Add a line to the story of a job that has not ended."""
    connection.execute(_TELL, (tenant_id, job_id, kind, write_json(data)))


def _json(value: Any) -> str | None:
    return None if value is None else write_json(value)


def _plan_json(plan: tuple[Plan, ...]) -> str | None:
    return write_json(plans_as_json(plan)) if plan else None


def plans_as_json(plan: tuple[Plan, ...]) -> list[dict[str, Any]]:
    """The steps to come, as the functions of the store take them."""
    return [
        {"kind": step.kind, "name": step.name, "work": step.work, "input": step.input}
        | ({} if step.approval is None else {"approval": step.approval})
        for step in plan
    ]


def _wait_json(wait: Wait) -> str:
    told = {
        "kind": wait.kind,
        "name": wait.name,
        "prompt": wait.prompt,
        "fallback": wait.fallback,
        "wake_at": None if wait.wake_at is None else wait.wake_at.isoformat(),
        "wake_in_s": wait.wake_in_s,
        "approval": wait.approval,
        "guards": list(wait.guards) or None,
        "taint": list(wait.taints) or None,
    }
    return write_json({name: value for name, value in told.items() if value is not None})


def _children_json(children: tuple[NewChild, ...]) -> str | None:
    if not children:
        return None
    return write_json([_child_as_json(child) for child in children])


def _child_as_json(child: NewChild) -> dict[str, Any]:
    told = {field.name: getattr(child, field.name) for field in fields(child)}
    return told | {"id": str(child.id), "steps": plans_as_json(child.steps)}


def _ending_json(ending: Ending) -> str:
    told: dict[str, Any] = {"status": ending.status, "output": ending.output}
    if ending.reason is not None:
        told["reason"] = ending.reason
    if ending.error is not None:
        told["error"] = ending.error
    return write_json(told)

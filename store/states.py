"""The states of a job and of a step, once: schema, code and docs all read them from here."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands; see docs/state-machine.md for the drawing."""

    QUEUED = "queued"
    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_ended(self) -> bool:
        return self in ENDINGS


ENDINGS = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})


class StepState(StrEnum):
    """Where a step stands. `ready` may be claimed, `running` is claimed, `waiting` is parked on
    something to come, the rest is settled."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    COMMITTED = "committed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepKind(StrEnum):
    """What a step does: ask a model, call a tool, or run one function of a pipeline."""

    MODEL = "model"
    TOOL = "tool"
    FUNCTION = "function"


class Origin(StrEnum):
    """How a job came to be: who called, and over which door."""

    CHAT = "chat"
    API = "api"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    MCP = "mcp"
    AGENT = "agent"


class JobClass(StrEnum):
    """How urgent a job is: the class picks its lane."""

    INTERACTIVE = "interactive"
    DEFAULT = "default"
    BATCH = "batch"
    BACKGROUND = "background"


class Work(StrEnum):
    """What a step does with a processor: it waits for others, or it computes."""

    WAITS = "waits"
    COMPUTES = "computes"


class WorkerState(StrEnum):
    """A worker incarnation: alive, no longer claiming, gone by its own word, or found dead."""

    LIVE = "live"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"


class WaitKind(StrEnum):
    """What a parked step waits for. The last four are asked of a person."""

    TIMER = "timer"
    SIGNAL = "signal"
    CHILDREN = "children"
    QUESTION = "question"
    RECONCILE = "reconcile"
    REVIEW = "review"
    APPROVAL = "approval"


QUESTIONS = frozenset({WaitKind.QUESTION, WaitKind.RECONCILE, WaitKind.REVIEW})


class Tier(StrEnum):
    """Who has to say yes to a call: who asked for the job, or people with a role."""

    CONFIRM = "confirm"
    APPROVE = "approve"


class ApprovalState(StrEnum):
    """Where the question about a call stands. `edited`: it is asked anew, with other arguments."""

    PENDING = "pending"
    GRANTED = "granted"
    REJECTED = "rejected"
    ANSWERED = "answered"
    EDITED = "edited"
    CANCELLED = "cancelled"


class ApprovalEnding(StrEnum):
    """How such a question came to its end: by a person, the clock, an earlier word, or its job."""

    DECIDED = "decided"
    EXPIRED = "expired"
    REMEMBERED = "remembered"
    STOPPED = "stopped"


class Decision(StrEnum):
    """What a person may say about a call that waits for approval."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"


class WaitState(StrEnum):
    """Where a wait stands: open, or how it came to its end."""

    PENDING = "pending"
    FIRED = "fired"
    ANSWERED = "answered"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class LetterState(StrEnum):
    """What people have made of a dead letter."""

    OPEN = "open"
    REPLAYING = "replaying"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class CatchUp(StrEnum):
    """What becomes of ticks that came while no scheduler was there: none, the last, or all run."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class Overlap(StrEnum):
    """What a tick does while the job of an earlier tick goes on."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_PREVIOUS = "cancel_previous"
    ALLOW = "allow"


class TickState(StrEnum):
    """What became of a tick: it made a job, made none, or has to wait for the one before it."""

    FIRED = "fired"
    SKIPPED = "skipped"
    WAITING = "waiting"


class RuleVerdict(StrEnum):
    """What a tenant's rule may ask for before a call. There is none that allows."""

    CONFIRM = "confirm"
    APPROVE = "approve"
    DENY = "deny"


class BudgetScope(StrEnum):
    """Whose budget it is: one job's, one line's of jobs, a tenant's, or a tenant's on one day."""

    JOB = "job"
    TREE = "tree"
    TENANT = "tenant"
    DAY = "day"


class BudgetUnit(StrEnum):
    """What a budget is counted in."""

    STEPS = "steps"
    TOKENS = "tokens"
    USD = "usd"
    SECONDS = "seconds"


class GuardStage(StrEnum):
    """Where a value passes, from a job's input to its end."""

    JOB_INPUT = "job.input"
    MODEL_REQUEST = "model.request"
    TOOL_ARGS = "tool.args"
    TOOL_RESULT = "tool.result"
    JOB_OUTPUT = "job.output"
    JOB_POST = "job.post"


class GuardVerdict(StrEnum):
    """What a guard says of a value, the mildest first."""

    ALLOW = "allow"
    REPLACE = "replace"
    RETRY = "retry"
    CONFIRM = "confirm"
    HALT = "halt"
    BLOCK = "block"

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
    """Where a step stands. `ready` may be claimed, `running` is claimed, the rest is settled."""

    READY = "ready"
    RUNNING = "running"
    COMMITTED = "committed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepKind(StrEnum):
    """What a step does: ask a model, call a tool, or run one function of a pipeline."""

    MODEL = "model"
    TOOL = "tool"
    FUNCTION = "function"


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

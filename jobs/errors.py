"""The errors of the top floor, drawn as a tree; those of the floors below are in their own files.

StepwellError
├── Refused               the caller has to change something; nothing was created
│   ├── UnknownAgent      no agent by that name is served here
│   ├── UnknownTenant     whoever asks is of no tenant that there is
│   ├── UnknownModel      no model can be made of that name
│   ├── InvalidInput      the input does not fit what the agent asks for
│   │   └── BadSchedule   nobody can go by that timetable, or its name is taken
│   ├── IdempotencyMismatch   the key was used before, with another request or by another
│   └── NotNow            there is no room for it now; the same request may be taken later
│       ├── Overloaded    too much waits on the platform
│       └── OverQuota     too much of this tenant waits
└── Misdeclared           an agent, tool or pipeline is written in a way that cannot work
"""

from __future__ import annotations

from typing import Any
from uuid import UUID


class StepwellError(Exception):
    """Something went wrong in a way we can name; the message is meant for a person."""


class Refused(StepwellError):
    """The caller has to change something; nothing was created."""

    code = "refused"

    @property
    def detail(self) -> str:
        return str(self)


class UnknownAgent(Refused):
    """No agent by that name is served here."""

    code = "unknown-agent"


class UnknownTenant(Refused):
    """Whoever asks is of no tenant that there is."""

    code = "unknown-tenant"

    def __init__(self, tenant_id: UUID) -> None:
        super().__init__(
            f"There is no tenant {tenant_id} on this platform. Whoever runs it has to make it "
            "before its callers can ask for anything."
        )


class UnknownModel(Refused):
    """No model can be made of that name."""

    code = "unknown-model"


class InvalidInput(Refused):
    """The input does not fit what the agent asks for."""

    code = "invalid-input"

    def __init__(self, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class BadSchedule(InvalidInput):
    """Nobody can go by that timetable, or its name is taken."""

    code = "bad-schedule"


class IdempotencyMismatch(Refused):
    """The idempotency key was used before, with another request or by another caller."""

    code = "idempotency-mismatch"


class NotNow(Refused):
    """There is no room for it now. After `retry_after_s` seconds the same request will fit."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Overloaded(NotNow):
    """Too much waits on the platform already."""

    code = "temporary-reduced-capacity"


class OverQuota(NotNow):
    """The tenant has as much waiting as it may have."""

    code = "quota-exceeded"


class Misdeclared(StepwellError):
    """An agent, tool or pipeline is written in a way that cannot work."""

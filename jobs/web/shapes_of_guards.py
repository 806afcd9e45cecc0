"""The shape of what a guard has said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from store.rows import GuardVerdictRow
from store.states import GuardStage, GuardVerdict


class Verdict(BaseModel):
    """What one guard said of one value in a step."""

    seq: int = Field(description="the step; 0 for the job's input")
    epoch: int = Field(description="the try of the step")
    stage: GuardStage
    guard: str = Field(description="its name; `*` counts all that had nothing to say")
    verdict: GuardVerdict
    count: int = Field(description="how many verdicts the row stands for")
    reason: str
    found: dict[str, Any] | None = Field(description="what it rests on: kinds and counts")
    at: datetime

    @classmethod
    def of(cls, row: GuardVerdictRow) -> Verdict:
        return cls.model_validate(row, from_attributes=True)

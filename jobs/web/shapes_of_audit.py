"""The shapes of the audit: its lines, and what came of walking them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from store import audit
from store.audit import Verified


class Line(BaseModel):
    """A line of the audit."""

    object: Literal["audit_line"] = "audit_line"
    n: int = Field(description="its number; the first is 1, and none is left out")
    kind: str
    at: str
    job_id: str | None
    content: dict[str, Any] = Field(description="all that it tells")
    sha256: str = Field(description="over the line before it, and this one")

    @classmethod
    def of(cls, line: audit.Line) -> Line:
        told = {name: line.content.get(name) for name in ("kind", "at", "job_id")}
        return cls(n=line.n, content=line.content, sha256=line.sha256, **told)


class Verification(BaseModel):
    """What came of walking the audit."""

    object: Literal["audit_verification"] = "audit_verification"
    is_whole: bool
    lines: int = Field(description="how many lines are good, from the first on")
    sha256: str = Field(description="of the last good line; keep it elsewhere")
    broken_at: int | None = Field(description="the first line that is not as it was written")
    why: str | None

    @classmethod
    def of(cls, found: Verified) -> Verification:
        return cls(
            is_whole=found.is_whole,
            lines=found.lines,
            sha256=found.sha256,
            broken_at=found.broken_at,
            why=found.why,
        )

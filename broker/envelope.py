"""The only thing that travels: ids. Whoever loses, repeats or forges one changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from store.states import JobClass, Work


@dataclass(frozen=True, slots=True)
class Envelope:
    """A doorbell for one step. `name` is for people: a bounded set, such as `tool.send_email`."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    name: str
    job_class: JobClass
    work: Work

    @property
    def args(self) -> tuple[str, str, int]:
        return (str(self.tenant_id), str(self.job_id), self.seq)

    @property
    def printed(self) -> str:
        """What Flower and logs show of the arguments."""
        return f"job={self.job_id} step={self.seq}"

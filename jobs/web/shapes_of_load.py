"""The shape of the load: what waits and runs in each class, the level, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.web.shapes import Lane, Page
from store.rows import ClassLoad, PlatformLoad, RefusalCount
from store.states import JobClass, Work


class ClassOfWork(BaseModel):
    """One class, as the last census found it. What waits is in Postgres, not on a lane yet."""

    name: JobClass
    waiting: int = Field(description="steps of all tenants that nobody has rung for yet")
    yours: int = Field(description="those of them that are this tenant's")
    oldest_s: float | None = Field(description="how long the first of them waits")
    wait_s: float | None = Field(description="how long the last of them will; null: not known yet")
    running: int
    started_per_s: float | None = Field(description="new starts out of what waits, lately")
    refused: int = Field(description="submissions of all tenants that were refused, ever")

    @classmethod
    def of(cls, row: ClassLoad, yours: int) -> Self:
        return cls(
            name=row.job_class,
            waiting=row.waiting,
            yours=yours,
            oldest_s=_rounded(row.oldest_s),
            wait_s=_rounded(row.wait_s),
            running=row.running,
            started_per_s=_rounded(row.started_per_s),
            refused=row.refused,
        )


class Refusals(BaseModel):
    """How many submissions of this tenant were refused within the last hour, and why."""

    model_config = ConfigDict(populate_by_name=True)

    job_class: JobClass = Field(alias="class")
    code: str
    count: int

    @classmethod
    def of(cls, row: RefusalCount) -> Self:
        return cls(job_class=row.job_class, code=row.code, count=row.count)


class Queues(Page[Lane]):
    """What lies on the lanes now, and what the last census found."""

    level: int = Field(description="0 normal to 3: see docs/overload.md")
    level_since: datetime
    measured_s: float | None = Field(description="the age of the census; null: there was none yet")
    slots: dict[Work, int]
    classes: list[ClassOfWork]
    refusals: list[Refusals]

    @classmethod
    def told(
        cls,
        lanes: Mapping[str, int],
        platform: PlatformLoad,
        classes: Mapping[JobClass, ClassLoad],
        yours: Mapping[JobClass, int],
        refusals: list[RefusalCount],
    ) -> Self:
        return cls(
            data=[Lane(name=name, waiting=count) for name, count in lanes.items()],
            level=platform.level,
            level_since=platform.since,
            measured_s=_rounded(platform.measured_age_s),
            slots=platform.slots,
            classes=[ClassOfWork.of(row, yours.get(each, 0)) for each, row in classes.items()],
            refusals=[Refusals.of(row) for row in refusals],
        )


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)

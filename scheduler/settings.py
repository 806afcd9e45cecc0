"""How often each caretaker walks its round."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SchedulerSettings(BaseSettings):
    """The scheduler's slice of the settings, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    dispatch_every_s: float = Field(default=0.25, gt=0, description="look for steps to ring")
    reconcile_every_s: float = Field(default=0.25, gt=0, description="look for lost workers")
    wake_every_s: float = Field(
        default=0.25, gt=0, description="look for timers that have come, and for unheard children"
    )
    tick_every_s: float = Field(default=1.0, gt=0, description="look for schedules that are due")
    alarm_every_s: float = Field(
        default=10.0, gt=0, description="look whether more calls go out than were wanted"
    )
    settle_every_s: float = Field(
        default=2.0, gt=0, description="give back what was set aside for steps that are over"
    )
    retire_every_s: float = Field(default=1.0, gt=0, description="forget one batch of old jobs")
    retire_batch: int = Field(default=100, ge=1, le=10_000)
    jobs_kept_s: float = Field(
        default=30 * 86_400.0, gt=0, description="how long a job is kept after its end"
    )
    letters_kept_s: float = Field(
        default=90 * 86_400.0, gt=0, description="how long a job with an open dead letter is kept"
    )
    ring_again_s: float = Field(
        default=2.0, gt=0, description="a rung step that nobody claimed is rung again after this"
    )
    census_every_s: float = Field(
        default=1.0, gt=0, description="count what waits; less often where that costs much"
    )
    level_target_s: float = Field(
        default=1.0, gt=0, description="a queue whose least wait is longer than this stands"
    )
    level_interval_s: float = Field(
        default=5.0, gt=0, description="how long it has to stand for the level to rise by one"
    )
    level_max: int = Field(default=3, ge=0, le=3, description="0: never leave out or hold back")
    refusals_kept_s: float = Field(
        default=30 * 86_400.0, gt=0, description="how long the audit lines of refusals are kept"
    )
    ticks_kept_s: float = Field(
        default=30 * 86_400.0,
        gt=0,
        description="how long it is kept what became of a tick, and a schedule after its last one",
    )
    worker_rows_kept_s: float = Field(default=86_400.0, gt=0)

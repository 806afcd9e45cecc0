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
    worker_rows_kept_s: float = Field(default=86_400.0, gt=0)

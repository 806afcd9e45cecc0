"""How often each caretaker walks its round."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SchedulerSettings(BaseSettings):
    """The scheduler's slice of the settings, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    dispatch_every_s: float = Field(default=0.25, gt=0, description="look for steps to ring")
    reconcile_every_s: float = Field(default=0.5, gt=0, description="look for lost workers")
    housekeeping_every_s: float = Field(default=60.0, gt=0)
    ring_again_s: float = Field(
        default=2.0, gt=0, description="a rung step that nobody claimed is rung again after this"
    )
    worker_rows_kept_s: float = Field(default=86_400.0, gt=0)

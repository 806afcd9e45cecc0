"""How much may wait before more is refused, read from `STEPWELL_*` variables."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.states import JobClass


class Limits(BaseSettings):
    """The slice of the settings that admission goes by; each class has a depth of its own."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    interactive_waiting_max: int = Field(
        default=50_000, ge=1, description="steps that may wait in Postgres before more is refused"
    )
    default_waiting_max: int = Field(default=50_000, ge=1)
    batch_waiting_max: int = Field(default=50_000, ge=1)
    background_waiting_max: int = Field(default=50_000, ge=1)
    retry_after_s_max: float = Field(
        default=300.0, ge=1, description="the latest that anybody refused is told to come back"
    )

    def waiting_max(self, job_class: JobClass) -> int:
        return {
            JobClass.INTERACTIVE: self.interactive_waiting_max,
            JobClass.DEFAULT: self.default_waiting_max,
            JobClass.BATCH: self.batch_waiting_max,
            JobClass.BACKGROUND: self.background_waiting_max,
        }[job_class]

"""Where Postgres is, and how patient we are with it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """The store's slice of the settings, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="libpq URL of a login that may become stepwell_app, the walled role.",
    )
    operator_database_url: SecretStr = Field(
        default=SecretStr(""),
        description="libpq URL of a login that may become stepwell_operator; "
        "empty means: the same login as database_url.",
    )
    migration_database_url: SecretStr = Field(
        default=SecretStr(""),
        description="libpq URL of a login that may create roles; used by `stepwell migrate` only.",
    )
    pool_size: int = Field(default=12, ge=1, le=200, description="connections per process")
    pool_timeout_s: float = Field(default=10.0, gt=0)
    connect_timeout_s: int = Field(default=5, ge=1)
    statement_timeout_s: int = Field(
        default=30, ge=1, description="no statement of ours is meant to take longer"
    )
    lease_s: float = Field(
        default=4.0, gt=0, description="how long a worker is believed after its last beat"
    )
    pulse_file: Path | None = Field(
        default=None, description="touched at every beat that Postgres has heard, for health checks"
    )
    artifact_bytes_max: int = Field(default=512 * 2**20, ge=1)

    @cached_property
    def operator_url(self) -> SecretStr:
        return (
            self.operator_database_url
            if self.operator_database_url.get_secret_value()
            else (self.database_url)
        )

    @cached_property
    def migration_url(self) -> SecretStr:
        return (
            self.migration_database_url
            if self.migration_database_url.get_secret_value()
            else (self.database_url)
        )

"""Which servers and ports `stepwell up` uses, and how patient it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

NONE = SecretStr("")
# What the mail sink says when it listens; said here, so that waiting for it needs no mail library.
MAILBOX_READY = "mailbox ready"


class PlatformSettings(BaseSettings):
    """The platform's slice of the settings, read from `STEPWELL_*` variables.

    An address left empty means: start a private server for it. A port is taken if free, otherwise
    any free one is used; 0 asks for any from the start.
    """

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    home: Path = Field(default=Path(".stepwell"), description="the folder all state lives in")
    database_url: SecretStr = Field(default=NONE, description="libpq URL of the runtime login")
    operator_database_url: SecretStr = Field(
        default=NONE, description="libpq URL of the scheduler's login; empty: as database_url"
    )
    migration_database_url: SecretStr = Field(
        default=NONE, description="libpq URL of a login that may migrate; empty: we do not migrate"
    )
    redis_url: SecretStr = NONE
    smtp_url: SecretStr = NONE
    api_port: int = Field(default=8700, ge=0, le=65535)
    flower_port: int = Field(default=5555, ge=0, le=65535)
    smtp_port: int = Field(default=2525, ge=0, le=65535)
    wait_slots: int = Field(default=200, ge=1, description="steps that wait, at once")
    compute_slots: int = Field(default=2, ge=1, description="steps that compute, at once")
    ready_timeout_s: float = Field(default=60.0, gt=0, description="for all processes together")
    stop_timeout_s: float = Field(default=10.0, gt=0, description="before a process is killed")

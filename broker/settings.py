"""Where Redis is, and how much may wait there."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class BrokerSettings(BaseSettings):
    """The broker's slice of the settings, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    redis_url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"))
    redis_timeout_s: float = Field(default=2.0, gt=0, description="to connect, and to answer")
    lane_depth_max: int = Field(
        default=400,
        ge=1,
        description="messages a lane may hold; what is above waits in Postgres, where it can be "
        "reordered and cancelled",
    )
    transport_tuned: bool = Field(
        default=True,
        description="false: Celery's stock Redis transport, for comparison in benchmarks",
    )

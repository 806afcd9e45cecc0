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
    lane_ahead: float = Field(
        default=0.5,
        ge=0,
        description="messages that lanes hold beyond the free slots, for each slot of live workers",
    )
    gate_limit_first: int = Field(
        default=1_000, ge=1, description="calls at once of a dependency of which nothing is known"
    )
    gate_limit_max: int = Field(
        default=2_000, ge=1, description="calls at once of one dependency, whatever it bears"
    )
    amplification_alert: float = Field(
        default=1.5,
        gt=1,
        description="calls on the wire for each that was wanted, above which people are warned",
    )
    transport_tuned: bool = Field(
        default=True,
        description="false: Celery's stock Redis transport, for comparison in benchmarks",
    )

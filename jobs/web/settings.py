"""How much the front door lets in at once, and under which names it answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebSettings(BaseSettings):
    """The web's own slice of the settings, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]",
        description="names the API answers to, by commas, without ports; `*` for any. A page in "
        "somebody's browser that points a name of its own at this address is refused by this.",
    )
    callers_file: Path | None = Field(
        default=None,
        description="who else may ask, besides whoever holds STEPWELL_API_TOKEN; by default "
        "callers.toml in STEPWELL_HOME, where there is one. Read when the API starts.",
    )
    request_bytes_max: int = Field(
        default=2**20, ge=1024, description="body of any request but an upload"
    )
    uploads_max: int = Field(default=8, ge=1, description="uploads taken in at the same time")
    streams_max: int = Field(default=100, ge=1, description="event streams open at the same time")
    stream_poll_ms: int = Field(default=200, ge=20, description="how often a stream looks for news")
    stream_heartbeat_s: int = Field(default=15, ge=1)

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name)

"""The settings of the top floor; the floors below have slices of their own."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from uuid import UUID

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.tenants import DEFAULT_TENANT


class Settings(BaseSettings):
    """What people set about agents, models and the API, read from `STEPWELL_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    home: Path = Field(default=Path(".stepwell"), description="where this machine keeps its state")
    agents: str = Field(
        default="jobs.examples.analyst", description="modules with agents, separated by commas"
    )

    url: str = Field(default="http://127.0.0.1:8700", description="where the API is")
    api_token: SecretStr = Field(default=SecretStr(""), description="who holds it is the tenant")
    tenant_id: UUID = Field(default=DEFAULT_TENANT, description="the tenant of that token")

    model: str = Field(
        default="",
        description="the model of every agent that a job does not name one for, such as "
        "openai:gpt-5-mini, anthropic:claude-haiku-4-5 or offline; empty: the agent's own",
    )
    model_base_url: str = Field(
        default="", description="an OpenAI-compatible server to send openai: models to"
    )
    model_api_key: SecretStr = Field(default=SecretStr(""), description="the key for that server")
    model_timeout_s: float = Field(default=300.0, gt=0, description="one whole model call")
    model_first_token_timeout_s: float = Field(default=60.0, gt=0)

    quantum_ms: float = Field(
        default=50.0,
        ge=0,
        description="how long a Celery task may go on with quick next steps; 0: one step a task",
    )
    output_tokens_reserved: int = Field(
        default=4096,
        ge=1,
        description="set aside for an answer whose length nobody bounds, where there is a budget",
    )
    unknown_price_usd_per_mtok: Decimal = Field(
        default=Decimal(30),
        ge=0,
        description="what a million tokens count for, in and out, where nobody knows the price",
    )
    commit_patience_s: float = Field(
        default=30.0, gt=0, description="how long a result waits for Postgres to come back"
    )
    deaf_after_s: float = Field(
        default=10.0,
        gt=0,
        description="how long rings may lie unheard on its lanes before a worker begins again",
    )
    depth_max: int = Field(
        default=4, ge=0, description="how deep a line of jobs may be that one job begins"
    )
    children_max: int = Field(
        default=32, ge=0, description="how many jobs one job may make with all its steps"
    )
    descendants_max: int = Field(
        default=100, ge=0, description="how many jobs one job and those it made may make"
    )
    schedules_max: int = Field(default=1_000, ge=0, description="how many one tenant may have")
    output_bytes_max: int = Field(
        default=64 * 1024,
        ge=1024,
        description="a larger output becomes an artifact, and the row keeps a preview",
    )

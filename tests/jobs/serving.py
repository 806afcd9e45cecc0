"""The API for tests: served by a real uvicorn on loopback, on a real database and a real Redis."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from pydantic import BaseModel, EmailStr, SecretStr

from broker.app import create_app as create_celery
from broker.depth import Gauge
from broker.gates import Gates
from broker.publish import Bell
from broker.settings import BrokerSettings
from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program, Registry
from jobs.agent.tool import tool
from jobs.client import Client
from jobs.examples.analyst import analyst
from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from jobs.web.app import create_app
from jobs.web.settings import WebSettings
from store.doors import Doors
from store.settings import StoreSettings
from store.tenants import DEFAULT_TENANT
from tests.running import eventually
from tests.stepping import Stepper

TOKEN = "a-token-that-only-tests-know"
TABLES = ("jobs", "checkpoints", "events", "usage", "artifacts", "artifact_chunks")


class Letter(BaseModel):
    """Somebody to write to."""

    email: EmailStr
    ask: str = "hello"


@tool(effect="read")
def look(where: str) -> str:
    """Look somewhere.

    Args:
        where: the place.
    """
    return where


def pass_on(value: Any) -> Any:
    return value


AGENTS: tuple[Program, ...] = (
    Pipeline(name="echo", steps=[pass_on], description="Gives back what it was given."),
    Agent(name="writer", model="offline", instructions="Write.", tools=[look], input_type=Letter),
    analyst,
)


@dataclass
class Served:
    """A served API. `http` and `client` carry the token."""

    url: str
    port: int
    home: Path
    doors: Doors
    admin_url: str
    server: uvicorn.Server = field(repr=False)

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=20,
        )

    @property
    def client(self) -> Client:
        return Client(self.url, TOKEN)

    @property
    def hand(self) -> Stepper:
        """A worker's hand: takes steps of jobs through the store."""
        return Stepper(self.doors, DEFAULT_TENANT)

    @property
    def spooled(self) -> list[Path]:
        spool = self.home / "spool"
        return list(spool.iterdir()) if spool.exists() else []

    def row_counts(self) -> dict[str, int]:
        """How many rows each table has, seen by the superuser: to see that nothing was written."""
        with psycopg.connect(self.admin_url) as admin:
            counts = {}
            for table in TABLES:
                row = admin.execute(f"select count(*) from stepwell.{table}").fetchone()  # type: ignore[call-overload]
                counts[table] = int(row[0])
        return counts


@contextmanager
def serve(
    database: Any,
    redis_url: str,
    home: Path,
    *,
    agents: Sequence[Program] = AGENTS,
    port: int = 0,
    store: dict[str, Any] | None = None,
    **web: Any,
) -> Iterator[Served]:
    """Serve the API while the block runs; `store` and `web` change single settings."""
    settings = Settings(home=home, api_token=SecretStr(TOKEN))
    store_settings = StoreSettings(
        database_url=SecretStr(database.runtime_url),
        operator_database_url=SecretStr(database.operator_url),
        **{"connect_timeout_s": 2, "pool_timeout_s": 2.0, **(store or {})},
    )
    broker = BrokerSettings(redis_url=SecretStr(redis_url), redis_timeout_s=1.0)
    doors = Doors(store_settings)

    def open_desk(settings: Settings) -> Desk:
        return Desk(
            settings=settings,
            doors=doors,
            bell=Bell(create_celery(broker)),
            gauge=Gauge(broker),
            gates=Gates(broker),
            registry=Registry(agents),
        )

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    port = listening.getsockname()[1]
    app = create_app(settings, WebSettings(**web), open_desk)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        url = f"http://127.0.0.1:{port}"
        yield Served(url, port, home, doors, database.admin_url, server)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
        assert not thread.is_alive()


@contextmanager
def database_shut(database: Any) -> Iterator[None]:
    """A database that throws everybody out and lets nobody in, while the block runs."""
    server_url = database.admin_url.replace(f"/{database.name}", "/postgres", 1)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"alter database {database.name} allow_connections false")
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            (database.name,),
        )
        try:
            yield
        finally:
            admin.execute(f"alter database {database.name} allow_connections true")

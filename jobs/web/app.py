"""The API as an ASGI app: open the desk, hang the doors, name the rooms.

Run it with `uvicorn jobs.web.app:create_app --factory`; settings come from the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer

from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from jobs.web import problems
from jobs.web.asked import Lobby, Turnstile
from jobs.web.callers import Callers, find_file
from jobs.web.door import Door
from jobs.web.routes import (
    approvals,
    artifacts,
    audit,
    budgets,
    datasets,
    dead_letters,
    dependencies,
    events,
    forks,
    guards,
    metrics,
    overview,
    policy,
    questions,
    queues,
    schedules,
    waits,
)
from jobs.web.routes import jobs as job_routes
from jobs.web.settings import WebSettings
from jobs.web.spool import sweep_abandoned
from store import logs
from store.errors import NotReady

TOKEN_CHARS_MIN = 16


def create_app(
    settings: Settings | None = None,
    web_settings: WebSettings | None = None,
    open_desk: Callable[[Settings], Desk] = Desk.open,
) -> FastAPI:
    """The app. Raises `NotReady` when no token is set: an open API is never started by accident.

    The same for a file of callers that cannot be used.
    """
    if settings is None:
        logs.configure()
    settings = settings or Settings()
    web_settings = web_settings or WebSettings()
    check_token(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.lobby = lobby = await to_thread.run_sync(
            open_lobby, settings, web_settings, open_desk
        )
        try:
            yield
        finally:
            await to_thread.run_sync(lobby.desk.close)

    app = FastAPI(
        title="Stepwell",
        summary="AI agents as durable background jobs.",
        version=version("stepwell"),
        lifespan=lifespan,
        # The pages for people load their scripts from elsewhere; /openapi.json says the same.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(
        Door,
        token=settings.api_token,
        tenant_id=settings.tenant_id,
        settings=web_settings,
        callers=Callers.load(find_file(web_settings, settings.home), settings.tenant_id),
    )
    problems.install(app)
    app.include_router(overview.health)
    app.include_router(metrics.router)
    app.include_router(guarded_routes())
    return app


def guarded_routes() -> APIRouter:
    """Everything under /v1. The door checks the token; this only tells the schema about it."""
    guarded = APIRouter(
        prefix="/v1",
        dependencies=[Security(HTTPBearer(auto_error=False))],
        responses={401: {"description": "a valid token is needed"}},
    )
    rooms = (
        job_routes,
        events,
        questions,
        approvals,
        audit,
        waits,
        forks,
        schedules,
        dead_letters,
        policy,
        artifacts,
        datasets,
        dependencies,
        overview,
        queues,
        budgets,
        guards,
    )
    for room in rooms:
        guarded.include_router(room.router)
    return guarded


def check_token(settings: Settings) -> None:
    """Refuse to serve without a token worth the name."""
    if len(settings.api_token.get_secret_value()) < TOKEN_CHARS_MIN:
        raise NotReady(
            f"STEPWELL_API_TOKEN has to be a secret of at least {TOKEN_CHARS_MIN} characters; "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one."
        )


def open_lobby(
    settings: Settings, web_settings: WebSettings, open_desk: Callable[[Settings], Desk]
) -> Lobby:
    """Open what the routes need; nothing here needs Postgres or Redis to answer yet."""
    desk = open_desk(settings)
    spool = settings.home / "spool"
    sweep_abandoned(spool)
    return Lobby(
        desk=desk,
        settings=web_settings,
        spool=spool,
        upload_bytes_max=desk.doors.settings.artifact_bytes_max,
        uploads=Turnstile("uploads", web_settings.uploads_max),
        streams=Turnstile("event streams", web_settings.streams_max),
    )

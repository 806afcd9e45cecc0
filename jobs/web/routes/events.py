"""Events: the story of a job as a page, or live as server-sent events that can be taken up again.

A stream is a loop: read what is new in one short transaction on a thread, tell it, look again after
`stream_poll_ms`. It holds no connection and no lock between two looks, and ends with `event: done`
once the job has ended and everything is told. The job is read before its events in the same
transaction, so an ending that is seen has no event behind it that is not.

While the database is down a stream stays open and silent but for its heartbeats: a browser gives up
for good on an error, and the story goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from jobs.web.asked import Lobby, TheLobby, TheTenant
from jobs.web.refusals import BadRequest
from jobs.web.shapes import Event, Job, Page
from store import events, usage
from store import jobs as stored
from store.errors import Unreachable

router = APIRouter(tags=["jobs"])

PAGE_MAX = 500
RETRY_MS = 2000
PAUSE_WHILE_DOWN_S = 2.0
EVENT_ID_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class News:
    """What is new behind some event, and the job if it had ended before that was read."""

    ended: Job | None
    events: list[Event]
    has_more: bool


@router.get(
    "/jobs/{job_id}/events",
    response_model=Page[Event],
    responses={200: {"content": {"text/event-stream": {}}}, 404: {}, 503: {}},
    summary="The story of a job: a page, or a live stream with Accept: text/event-stream",
)
async def tell_events(
    job_id: UUID,
    lobby: TheLobby,
    tenant_id: TheTenant,
    after: Annotated[int, Query(ge=0, le=EVENT_ID_MAX, description="the last event seen")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response | Page[Event]:
    if "text/event-stream" not in accept.lower():
        news = await _look(lobby, tenant_id, job_id, after, limit)
        return Page(data=news.events, has_more=news.has_more)
    lobby.streams.check()
    after = max(after, _number_of(last_event_id))
    # Asked once before the stream opens, so that an unknown job is a plain 404.
    await _look(lobby, tenant_id, job_id, after, limit=1)
    return EventSourceResponse(
        _stream(lobby, tenant_id, job_id, after), ping=lobby.settings.stream_heartbeat_s
    )


async def _stream(
    lobby: Lobby, tenant_id: UUID, job_id: UUID, after: int
) -> AsyncIterator[ServerSentEvent]:
    with lobby.streams.entered():
        yield ServerSentEvent(comment="the story of a job", retry=RETRY_MS)
        while True:
            try:
                news = await _look(lobby, tenant_id, job_id, after, PAGE_MAX)
            except Unreachable:
                await anyio.sleep(PAUSE_WHILE_DOWN_S)
                continue
            for event in news.events:
                after = event.id
                yield _sent(event.type, event.model_dump(mode="json"), event.id)
            if news.has_more:
                continue
            if news.ended is not None:
                yield _sent("done", news.ended.model_dump(mode="json", by_alias=True), None)
                return
            await anyio.sleep(lobby.settings.stream_poll_ms / 1000)


async def _look(lobby: Lobby, tenant_id: UUID, job_id: UUID, after: int, limit: int) -> News:
    def read() -> News:
        with lobby.desk.doors.as_tenant(tenant_id) as tx:
            row = stored.read(tx, job_id)
            ended = Job.of(row, usage.total(tx, row)) if row.status.is_ended else None
            found = events.list_after(tx, job_id, after, limit + 1)
        told = [Event.of(row) for row in found[:limit]]
        return News(ended=ended, events=told, has_more=len(found) > limit)

    return await to_thread.run_sync(read, limiter=lobby.stream_threads)


def _sent(kind: str, data: object, event_id: int | None) -> ServerSentEvent:
    number = None if event_id is None else str(event_id)
    return ServerSentEvent(event=kind, id=number, data=json.dumps(data))


def _number_of(header: str | None) -> int:
    if not header:
        return 0
    if not header.isdecimal() or int(header) > EVENT_ID_MAX:
        raise BadRequest("Last-Event-ID is the number of an event, such as 12.")
    return int(header)

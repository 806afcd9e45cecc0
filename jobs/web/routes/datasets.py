"""Datasets: a table somebody uploads is read before it is kept, so a bad file leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request

from jobs.datasets import ingest
from jobs.datasets.ingest import Ingested, IngestLimits
from jobs.errors import UnknownTenant
from jobs.web.asked import Lobby, TheLobby, TheTenant
from jobs.web.names import safe_name
from jobs.web.refusals import BadRequest
from jobs.web.shapes import Dataset
from jobs.web.spool import PIECE_BYTES, Spooled, spooled
from store import artifacts, tenants
from store.rows import ArtifactRow

router = APIRouter(tags=["datasets"])

# Reading a table takes a core; the others wait their turn.
READERS = CapacityLimiter(2)


@router.post(
    "/datasets",
    status_code=201,
    responses={400: {}, 403: {}, 413: {}, 422: {}, 503: {}, 507: {}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
    summary="Upload a table: CSV, TSV, JSON lines, Parquet or Excel, as the raw body",
)
async def upload_dataset(
    request: Request,
    lobby: TheLobby,
    tenant_id: TheTenant,
    name: Annotated[
        str, Query(min_length=1, max_length=500, description="the file's name, with its ending")
    ],
) -> Dataset:
    called = safe_name(name)
    if not called:
        raise BadRequest(f"{name[:100]!r} is not a file name.")
    with lobby.uploads.entered():
        async with spooled(request, lobby.spool, lobby.upload_bytes_max) as upload:
            table = await to_thread.run_sync(
                _read_as_table, tenant_id, upload, called, limiter=READERS
            )
            row = await to_thread.run_sync(_keep, lobby, tenant_id, upload, called)
    return Dataset(
        id=row.id,
        name=row.name,
        rows=table.rows,
        columns=len(table.columns),
        format=table.format,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        notes=list(table.notes),
    )


def _read_as_table(tenant_id: UUID, upload: Spooled, called: str) -> Ingested:
    # The size was limited on the way in, by a setting of its own.
    limits = IngestLimits(bytes_max=max(IngestLimits().bytes_max, upload.size_bytes))
    return ingest.ingest(
        upload.path, owner=str(tenant_id), name=called, sha256=upload.sha256, limits=limits
    )


def _keep(lobby: Lobby, tenant_id: UUID, upload: Spooled, called: str) -> ArtifactRow:
    with lobby.desk.doors.as_tenant(tenant_id) as tx:
        if not tenants.exists(tx, tenant_id):
            raise UnknownTenant(tenant_id)
        return artifacts.save(
            tx,
            tenant_id=tenant_id,
            job_id=None,
            seq=None,
            name=called,
            media_type="application/octet-stream",
            chunks=_pieces_of(upload.path),
            size_max_bytes=lobby.upload_bytes_max,
        )


def _pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece

"""Artifacts: list what a job made, and hand out the bytes so that no browser runs them.

The bytes are copied out of the database into the spool first: a slow reader then holds a file, not
a connection, and may ask for ranges. They are a stranger's bytes. They are named and typed exactly,
never sniffed, never framed, and a page among them may show itself but run and load nothing.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from jobs.web.asked import Lobby, TheDesk, TheLobby, TheTenant
from jobs.web.names import disposition
from jobs.web.shapes import Artifact, Page
from jobs.web.spool import DOWNLOAD, private_file
from store import artifacts
from store import jobs as stored
from store.rows import ArtifactRow

router = APIRouter(tags=["artifacts"])

# Shown in place; everything else is offered as a file to save.
SHOWN = frozenset({"image/png", "image/jpeg", "text/html", "text/plain", "application/json"})
SANDBOX = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"


@router.get("/jobs/{job_id}/artifacts", responses={404: {}}, summary="What a job has made")
def list_artifacts(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Page[Artifact]:
    with desk.doors.as_tenant(tenant_id) as tx:
        stored.read(tx, job_id)
        found = artifacts.list_of(tx, job_id)
    return Page(data=[Artifact.of(row) for row in found])


@router.get(
    "/artifacts/{artifact_id}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"content": {"application/octet-stream": {}}},
        404: {},
        416: {},
    },
    summary="The bytes of an artifact",
)
def read_artifact(artifact_id: UUID, lobby: TheLobby, tenant_id: TheTenant) -> FileResponse:
    row, path = _copy_out(lobby, tenant_id, artifact_id)
    kind = row.media_type.partition(";")[0].strip().lower()
    shown = "inline" if kind in SHOWN else "attachment"
    return FileResponse(
        path,
        media_type=row.media_type,
        headers={
            "Content-Disposition": disposition(shown, row.name),
            "Content-Security-Policy": SANDBOX,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "ETag": f'"{row.sha256}"',
            "Cache-Control": "private, no-cache",
        },
        background=BackgroundTask(path.unlink, missing_ok=True),
    )


def _copy_out(lobby: Lobby, tenant_id: UUID, artifact_id: UUID) -> tuple[ArtifactRow, Path]:
    path = lobby.spool / f"{uuid.uuid4().hex}{DOWNLOAD}"
    with lobby.desk.doors.as_tenant(tenant_id) as tx:
        row = artifacts.read(tx, artifact_id)
        try:
            with private_file(path) as file:
                for chunk in artifacts.stream(tx, artifact_id):
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return row, path

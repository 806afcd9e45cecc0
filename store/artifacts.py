"""Artifacts: bytes of a tenant, kept in Postgres in chunks, for any worker anywhere to read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select, text
from uuid_utils.compat import uuid7

from store.errors import NotFound, TooLarge
from store.rows import ArtifactRow
from store.schema import artifact_chunks, artifacts

CHUNK_BYTES = 2**20


def save(
    tx: Connection,
    *,
    tenant_id: UUID,
    job_id: UUID | None,
    seq: int | None,
    name: str,
    media_type: str,
    chunks: Iterable[bytes],
    size_max_bytes: int,
) -> ArtifactRow:
    """Keep the bytes; the same step saving the same name again replaces what it saved before.

    Raises `TooLarge` past the limit; the transaction then has to be rolled back, and nothing stays.
    """
    if job_id is not None:  # an upload belongs to no step: two of one name are two files
        tx.execute(
            delete(artifacts).where(
                _this_tenant(artifacts),
                artifacts.c.job_id == job_id,
                artifacts.c.seq == seq,
                artifacts.c.name == name,
            )
        )
    artifact_id = uuid7()
    tx.execute(
        insert(artifacts).values(
            tenant_id=tenant_id,
            id=artifact_id,
            job_id=job_id,
            seq=seq,
            name=name,
            media_type=media_type,
            size_bytes=0,
            sha256="",
        )
    )
    digest, size = hashlib.sha256(), 0
    for n, chunk in enumerate(_rechunk(chunks)):
        size += len(chunk)
        if size > size_max_bytes:
            raise TooLarge(f"{name!r} is larger than the limit of {size_max_bytes:,} bytes.")
        digest.update(chunk)
        tx.execute(
            insert(artifact_chunks),
            {"tenant_id": tenant_id, "artifact_id": artifact_id, "n": n, "data": chunk},
        )
    row = tx.execute(
        artifacts.update()
        .where(_this_tenant(artifacts), artifacts.c.id == artifact_id)
        .values(size_bytes=size, sha256=digest.hexdigest())
        .returning(artifacts)
    ).one()
    return _artifact(row)


def read(tx: Connection, artifact_id: UUID) -> ArtifactRow:
    """The label of an artifact; `NotFound` when there is none behind this tenant's wall."""
    row = tx.execute(
        select(artifacts).where(_this_tenant(artifacts), artifacts.c.id == artifact_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no artifact {artifact_id}.")
    return _artifact(row)


def stream(tx: Connection, artifact_id: UUID) -> Iterator[bytes]:
    """The bytes, a chunk at a time; the transaction has to stay open meanwhile."""
    n = 0
    while True:
        data = tx.execute(
            select(artifact_chunks.c.data).where(
                _this_tenant(artifact_chunks),
                artifact_chunks.c.artifact_id == artifact_id,
                artifact_chunks.c.n == n,
            )
        ).scalar()
        if data is None:
            return
        yield bytes(data)
        n += 1


def list_of(tx: Connection, job_id: UUID) -> list[ArtifactRow]:
    """Every artifact of a job, oldest first."""
    rows = tx.execute(
        select(artifacts)
        .where(_this_tenant(artifacts), artifacts.c.job_id == job_id)
        .order_by(artifacts.c.created_at, artifacts.c.id)
    )
    return [_artifact(row) for row in rows]


def find(tx: Connection, job_id: UUID, name: str) -> ArtifactRow | None:
    """The newest artifact of a job by that name."""
    row = tx.execute(
        select(artifacts)
        .where(_this_tenant(artifacts), artifacts.c.job_id == job_id, artifacts.c.name == name)
        .order_by(artifacts.c.created_at.desc(), artifacts.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _artifact(row)


def _rechunk(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of the size we keep."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)


def _this_tenant(table: Any) -> Any:
    return table.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")


def _artifact(row: Row[Any]) -> ArtifactRow:
    return ArtifactRow(**row._mapping)

"""Artifacts: bytes go in and come out the same, within a limit, and only where they belong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from store import artifacts, jobs
from store.artifacts import CHUNK_BYTES
from store.doors import Doors
from store.errors import NotFound, TooLarge
from store.jobs import NewJob
from store.rows import ArtifactRow
from store.states import JobClass, Origin, StepKind, Work
from store.transitions import Plan


@pytest.fixture
def job_id(doors: Doors, tenant: UUID) -> UUID:
    first = (Plan(StepKind.FUNCTION, "step.test", Work.WAITS),)
    new = NewJob(
        tenant, uuid4(), "a", "1", None, JobClass.DEFAULT, Origin.API, {}, None, None, first
    )
    with doors.as_tenant(tenant) as tx:
        jobs.create(tx, new)
    return new.id


def keep(
    doors: Doors,
    tenant: UUID,
    data: bytes | Iterator[bytes],
    *,
    job_id: UUID | None = None,
    name: str = "data.bin",
    size_max_bytes: int = 10 * CHUNK_BYTES,
) -> ArtifactRow:
    with doors.as_tenant(tenant) as tx:
        return artifacts.save(
            tx,
            tenant_id=tenant,
            job_id=job_id,
            seq=None if job_id is None else 1,
            name=name,
            media_type="application/octet-stream",
            chunks=[data] if isinstance(data, bytes) else data,
            size_max_bytes=size_max_bytes,
        )


def load(doors: Doors, tenant: UUID, artifact_id: UUID) -> bytes:
    with doors.as_tenant(tenant) as tx:
        return b"".join(artifacts.stream(tx, artifact_id))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_bytes_come_out_as_they_went_in(doors: Doors, tenant: UUID, size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    row = keep(doors, tenant, iter([data[: size // 3], data[size // 3 :]]))
    assert (row.size_bytes, row.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert load(doors, tenant, row.id) == data


def test_past_the_limit_nothing_stays(doors: Doors, tenant: UUID) -> None:
    with pytest.raises(TooLarge, match=r"data\.bin"):
        keep(doors, tenant, b"x" * 11, size_max_bytes=10)
    with doors.as_tenant(tenant) as tx:
        kept = tx.execute(text("select count(*) from stepwell.artifact_chunks")).scalar()
    assert kept == 0


def test_two_uploads_of_one_name_are_two_artifacts(doors: Doors, tenant: UUID) -> None:
    first, second = keep(doors, tenant, b"first"), keep(doors, tenant, b"second")
    assert first.id != second.id
    assert load(doors, tenant, first.id) == b"first"
    assert load(doors, tenant, second.id) == b"second"


def test_a_step_that_saves_a_name_again_replaces_it(
    doors: Doors, tenant: UUID, job_id: UUID
) -> None:
    keep(doors, tenant, b"first", job_id=job_id)
    again = keep(doors, tenant, b"second", job_id=job_id)
    with doors.as_tenant(tenant) as tx:
        assert [row.id for row in artifacts.list_of(tx, job_id)] == [again.id]


def test_another_tenant_sees_nothing(doors: Doors, tenant: UUID, other_tenant: UUID) -> None:
    row = keep(doors, tenant, b"mine")
    with doors.as_tenant(other_tenant) as tx:
        with pytest.raises(NotFound):
            artifacts.read(tx, row.id)
        assert list(artifacts.stream(tx, row.id)) == []

"""The shelf: a job's artifacts as its tools see them, kept by the store."""

from __future__ import annotations

import builtins
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from jobs.agent.tool import ArtifactRef
from store import artifacts, checkpoints
from store.doors import Doors
from store.rows import ArtifactRow
from store.transitions import Claim


@dataclass(frozen=True, slots=True)
class JobShelf:
    """The artifacts of one job, written in the name of one of its steps."""

    doors: Doors
    held: Claim
    cache: Path

    def save(self, name: str, media_type: str, data: bytes | Iterable[bytes]) -> ArtifactRef:
        """Keep bytes under a name; the same step saving the name again replaces them.

        Raises `TooLarge`, and `TakenOver` when the step has been given to somebody else.
        """
        with self.doors.as_tenant(self.held.tenant_id) as tx:
            row = artifacts.save(
                tx,
                tenant_id=self.held.tenant_id,
                job_id=self.held.job_id,
                seq=self.held.seq,
                name=name,
                media_type=media_type,
                chunks=[data] if isinstance(data, bytes) else data,
                size_max_bytes=self.doors.settings.artifact_bytes_max,
            )
            # Last, so that the step is held for a moment only: a late writer must not replace what
            # a committed output names.
            checkpoints.keep_held(tx, self.held.job_id, self.held.seq, self.held.epoch)
        return _ref(row)

    def load(self, ref_id: UUID) -> bytes:
        """The bytes of an artifact of this tenant; raises `NotFound`."""
        with self.doors.as_tenant(self.held.tenant_id) as tx:
            artifacts.read(tx, ref_id)
            return b"".join(artifacts.stream(tx, ref_id))

    def fetch(self, ref_id: UUID) -> Path:
        """A local read-only copy under the cache, kept by its hash; whole or not there at all."""
        with self.doors.as_tenant(self.held.tenant_id) as tx:
            row = artifacts.read(tx, ref_id)
            # The same bytes of two tenants are two files: nobody learns what others have.
            kept = self.cache / str(self.held.tenant_id) / row.sha256 / _file_name(row.name)
            if kept.exists():
                return kept
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as partial:
                for chunk in artifacts.stream(tx, ref_id):
                    partial.write(chunk)
            Path(partial.name).chmod(0o400)
            os.replace(partial.name, kept)
        return kept

    def find(self, name: str) -> ArtifactRef | None:
        """The newest artifact of this job by that name."""
        with self.doors.as_tenant(self.held.tenant_id) as tx:
            row = artifacts.find(tx, self.held.job_id, name)
        return None if row is None else _ref(row)

    def list(self) -> builtins.list[ArtifactRef]:
        """Every artifact of this job."""
        with self.doors.as_tenant(self.held.tenant_id) as tx:
            return [_ref(row) for row in artifacts.list_of(tx, self.held.job_id)]


def _ref(row: ArtifactRow) -> ArtifactRef:
    return ArtifactRef(row.id, row.name, row.media_type, row.size_bytes, row.sha256)


def _file_name(name: str) -> str:
    """What the local copy is called: the artifact's name, if that can be the name of a file."""
    plain = Path(name).name
    return plain if plain not in ("", ".", "..") else "artifact"

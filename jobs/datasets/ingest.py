"""A file people sent becomes a DuckDB file with one table, `data`; made once, kept by hash.

The work is done in a confined child (`ingest_errand`). What comes out is kept under the cache
folder by the hash of the file's bytes, so that any worker can make it on demand:

* a finished table is a folder `<owner>/<hash>-…/` with `table.duckdb` and `about.json`; owners
  share nothing, so that nobody can tell by the time it takes what others have uploaded;
* it is made in a folder of another name and renamed into place, all at once; of two workers that
  make the same table at the same time one rename wins, and the other uses the winner's;
* the least recently used tables are removed when the cache outgrows its limit. A process that has
  one open keeps reading it; one that comes too late makes it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from jobs.datasets.confine import MIB, Limits, OutOfMemory, TimedOut, run_confined
from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.folders import sweep_scratch, tables_folder

MADE_BY_VERSION = 1
HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class IngestLimits:
    """What one file may be, and what reading it may take."""

    bytes_max: int = 512 * MIB
    columns_max: int = 2_000
    wall_clock_s: float = 300.0
    cpu_s: int = 600
    memory_mib: int = 1024
    cache_bytes_max: int = 20 * 1024 * MIB


@dataclass(frozen=True)
class Ingested:
    """A table made ready: the DuckDB file at `path` has one table, `data`."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    format: str
    notes: tuple[str, ...]


def ingest(
    path: Path,
    *,
    owner: str,
    name: str | None = None,
    sha256: str | None = None,
    limits: IngestLimits | None = None,
) -> Ingested:
    """Make the table in `path` ready to be queried, or find it made already.

    `owner` (a tenant) is whose cache it is kept in, `name` what they call the file (the path's own
    name if not given), `sha256` its hash if already known. Raises `UnreadableDataset` with what is
    wrong with the file; the machine's own trouble comes as `jobs.datasets.confine.Crashed`.
    """
    limits = limits or IngestLimits()
    name = name or path.name
    refuse_unfit(path, limits.bytes_max)
    home = tables_folder() / owner / _key(sha256 or hash_file(path), name, limits)
    found = _find(home)
    if found is None:
        _make(path, name, home, limits)
        trim_cache(limits.cache_bytes_max, keep=home)
        found = _find(home)
    if found is None:
        raise FileNotFoundError(f"the table made ready at {home} is gone; try again")
    return found


def refuse_unfit(path: Path, bytes_max: int) -> None:
    """Raise `UnreadableDataset` for what need not be opened to be refused."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableDataset(f"there is no file {path.name!r}") from None
    except OSError as error:
        raise UnreadableDataset(f"{path.name!r} cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableDataset(f"{path.name!r} is a folder; name one file in it")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableDataset(f"{path.name!r} is not a regular file")
    if not os.access(path, os.R_OK):
        raise UnreadableDataset(f"{path.name!r} may not be read: permission denied")
    if status.st_size == 0:
        raise UnreadableDataset("the file is empty")
    if status.st_size > bytes_max:
        raise UnreadableDataset(
            f"the file is {status.st_size / MIB:,.1f} MiB; at most {bytes_max / MIB:,.0f} are read"
        )


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _key(sha256: str, name: str, limits: IngestLimits) -> str:
    """What decides the outcome: the bytes, the ending of the name, the limits, and our version."""
    endings = "".join(PurePath(name.lower()).suffixes[-2:])
    settings = f"{endings}|{limits.columns_max}|{limits.bytes_max}|{MADE_BY_VERSION}"
    return f"{sha256}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def _find(home: Path) -> Ingested | None:
    """The finished table in a folder, marked as used just now."""
    try:
        about = json.loads((home / "about.json").read_text(encoding="utf-8"))
        os.utime(home)
    except FileNotFoundError:
        return None
    columns = about.pop("columns")
    return Ingested(
        path=home / "table.duckdb",
        columns=tuple(name for name, _ in columns),
        types=tuple(type_ for _, type_ in columns),
        notes=tuple(about.pop("notes")),
        **about,
    )


def _make(path: Path, name: str, home: Path, limits: IngestLimits) -> None:
    """Make the table in a folder of its own, then move that into place."""
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    workshop = Path(tempfile.mkdtemp(prefix="making-", dir=home.parent))
    try:
        about = _read_confined(path, name, workshop, limits)
        (workshop / "about.json").write_text(json.dumps(about), encoding="utf-8")
        with suppress(OSError):  # another worker made the same meanwhile
            workshop.rename(home)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _read_confined(
    path: Path, name: str, workshop: Path, limits: IngestLimits
) -> dict[str, object]:
    source = path.resolve()
    arguments = {
        "source": str(source),
        "name": name,
        "output": str(workshop.resolve() / "table.duckdb"),
        "columns_max": limits.columns_max,
        "bytes_max": limits.bytes_max,
        "memory_mib": limits.memory_mib,
    }
    try:
        outcome = run_confined(
            "jobs.datasets.ingest_errand:ingest",
            arguments,
            limits=Limits(
                wall_clock_s=limits.wall_clock_s,
                cpu_s=limits.cpu_s,
                memory_bytes=(2 * limits.memory_mib + 512) * MIB,
                file_bytes=8 * limits.bytes_max,
            ),
            readable=[source],
            writable=[workshop],
        )
    except TimedOut as error:
        raise UnreadableDataset(f"reading the file {error}; send a smaller one") from error
    except OutOfMemory as error:
        raise UnreadableDataset(f"reading the file {error}; send a smaller one") from error
    about: dict[str, object] = outcome.value
    return about


def trim_cache(bytes_max: int, keep: Path) -> None:
    """Remove the least recently used tables, and stale leftovers, until the rest fits."""
    sweep_scratch()
    weighed = (_weigh(folder) for folder in tables_folder().glob("*/*"))
    tables = sorted((entry for entry in weighed if entry), key=lambda entry: entry[0])
    total = sum(size for _, size, _ in tables)
    for _, size, folder in tables:
        if total <= bytes_max:
            return
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _weigh(folder: Path) -> tuple[float, int, Path] | None:
    """When a table was last used, and its size; None if it vanished meanwhile."""
    try:
        size = sum(file.stat().st_size for file in folder.iterdir())
        return folder.stat().st_mtime, size, folder
    except OSError:
        return None

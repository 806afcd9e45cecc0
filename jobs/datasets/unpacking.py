"""Opening a file as the one stream of bytes in it, packed or not, and never more than allowed."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.formats import Format, Packing, Recognised, text_format_by_name

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MEMBERS_NAMED = 5


class BoundedStream(io.RawIOBase):
    """Reads through to a binary stream and raises `UnreadableDataset` past `bytes_max`."""

    def __init__(self, source: io.BufferedIOBase, bytes_max: int) -> None:
        self._source = source
        self._bytes_left = bytes_max
        self._bytes_max = bytes_max

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer from the source, counting."""
        count = self._source.readinto(buffer)
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise UnreadableDataset(
                f"unpacked, the file is larger than {self._bytes_max // 2**20:,} MiB"
            )
        return count


@contextmanager
def open_unpacked(path: Path, packing: Packing, bytes_max: int) -> Iterator[io.BufferedReader]:
    """The bytes of the table; raises `UnreadableDataset` for a damaged or oversized packing."""
    try:
        with _open_source(path, packing) as source:
            yield io.BufferedReader(BoundedStream(source, bytes_max), 1 << 20)
    except EOFError as error:
        raise UnreadableDataset("the packed file is cut off: its end is missing") from error
    except (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise UnreadableDataset(f"the packed file is damaged: {error}") from error


def _open_source(path: Path, packing: Packing) -> io.BufferedIOBase:
    if packing is Packing.GZIP:
        return gzip.open(path, "rb")
    if packing is Packing.ZIP:
        archive = zipfile.ZipFile(path)
        # A reader of bytes in all that is used of it, though not declared as one.
        return archive.open(only_member(archive))  # type: ignore[return-value]
    return path.open("rb")


def look_inside_zip(path: Path) -> Recognised:
    """A zip is an Excel workbook, or a wrapping of one text table.

    Raises `UnreadableDataset` for anything else in it, with the names found.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "xl/workbook.xml" in names:
                return Recognised(Packing.NONE, Format.XLSX)
            member = only_member(archive)
            return Recognised(Packing.ZIP, text_format_by_name(member.filename))
    except zipfile.BadZipFile as error:
        raise UnreadableDataset(
            "the workbook or zip is damaged or cut off: its directory, at the end, cannot be read"
        ) from error


def only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The single file in an archive, leaving aside folders and what macOS adds."""
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
        and not PurePath(info.filename).name.startswith(".")
    ]
    if len(members) != 1:
        names = ", ".join(info.filename[:80] for info in members[:MEMBERS_NAMED])
        raise UnreadableDataset(
            f"the zip holds {len(members)} files{': ' + names if names else ''}; "
            "send one table in it"
        )
    if members[0].flag_bits & 0x1:
        raise UnreadableDataset("the zip is protected with a password; send it without one")
    return members[0]

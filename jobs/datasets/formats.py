"""Which kind of table a file is, by its first bytes and its name; and a clear no for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from jobs.datasets.errors import UnreadableDataset

HEAD_BYTES = 64 * 1024


class Format(StrEnum):
    """The kinds of table we read."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"
    PARQUET = "parquet"
    XLSX = "xlsx"


class Packing(StrEnum):
    """How the table is wrapped."""

    NONE = "none"
    GZIP = "gzip"
    ZIP = "zip"


@dataclass(frozen=True)
class Recognised:
    """What a file is; `format` is None while only a look inside its packing can tell."""

    packing: Packing
    format: Format | None


FORMAT_OF_SUFFIX = {
    ".csv": Format.CSV,
    ".txt": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".xlsx": Format.XLSX,
    ".xlsm": Format.XLSX,
}
TEXT_FORMATS = frozenset({Format.CSV, Format.TSV, Format.JSONL, Format.JSON})
READABLE = "CSV, TSV, JSON lines, Parquet or Excel (.xlsx), the text ones also as .gz or .zip"

# First bytes of files that people send and that are no table we read, with what to do about it.
STRANGERS = (
    (b"%PDF", "is a PDF document"),
    (b"\x89PNG", "is a picture (PNG)"),
    (b"\xff\xd8\xff", "is a picture (JPEG)"),
    (b"GIF8", "is a picture (GIF)"),
    (b"SQLite format 3", "is an SQLite database; export the table as CSV"),
    (
        b"\xd0\xcf\x11\xe0",
        "is an old Excel (.xls) or a password-protected workbook; save it as .xlsx without one",
    ),
    (b"ARROW1", "is an Arrow/Feather file; save it as Parquet"),
    (b"ORC", "is an ORC file; save it as Parquet"),
    (b"Obj\x01", "is an Avro file; save it as Parquet"),
    (b"\x89HDF", "is an HDF5 file; export the table as CSV"),
    (b"$FL2", "is an SPSS file; export it as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"BZh", "is packed with bzip2; use .gz or .zip, or unpack it first"),
    (b"\xfd7zXZ", "is packed with xz; use .gz or .zip, or unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is packed with Zstandard; use .gz or .zip, or unpack it first"),
    (b"\x7fELF", "is a program"),
    (b"MZ\x90", "is a program"),
)
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def recognise(head: bytes, name: str) -> Recognised:
    """Tell what a file is from its first `HEAD_BYTES` and its name.

    Content wins over the name where it is unmistakable. Raises `UnreadableDataset` for an empty,
    binary or foreign file.
    """
    if not head:
        raise UnreadableDataset("the file is empty")
    if head.startswith(b"PAR1"):
        return Recognised(Packing.NONE, Format.PARQUET)
    if head.startswith(b"PK"):
        return Recognised(Packing.ZIP, None)
    if head.startswith(b"\x1f\x8b"):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        return Recognised(Packing.GZIP, text_format_by_name(inner))
    refuse_strangers(head)
    return Recognised(Packing.NONE, recognise_text(head, name))


def refuse_strangers(head: bytes) -> None:
    """Raise `UnreadableDataset` for files that are known, or look, not to be text."""
    for mark, what in STRANGERS:
        if head.startswith(mark):
            raise UnreadableDataset(f"the file {what}")
    if not head.startswith(UTF16_MARKS) and b"\0" in head:
        raise UnreadableDataset(f"the file is binary, not a table; send {READABLE}")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:100].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        raise UnreadableDataset(
            "the file is a web page or XML, not a table; "
            "if it was downloaded, the link may have led to a login page"
        )


def recognise_text(head: bytes, name: str) -> Format:
    """Which text format: by name if that says one, else by the first character."""
    format_ = FORMAT_OF_SUFFIX.get(PurePath(name.lower()).suffix)
    if format_ in (Format.PARQUET, Format.XLSX):
        kind = "a Parquet file" if format_ is Format.PARQUET else "an Excel workbook"
        raise UnreadableDataset(f"the file is named like {kind} but is not one; it may be damaged")
    if format_ is not None and format_ is not Format.CSV:
        return format_
    return format_by_first_character(head)


def format_by_first_character(head: bytes) -> Format:
    """A file with no telling name: records in braces are JSON, the rest is separated values."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{") and start[1:].lstrip().startswith(b'"'):
        return Format.JSONL
    if start.startswith(b"[") and start[1:].lstrip().startswith(b"{"):
        return Format.JSON
    return Format.CSV


def text_format_by_name(name: str) -> Format | None:
    """The format of something packed, by the name it has inside; None if that does not say."""
    format_ = FORMAT_OF_SUFFIX.get(PurePath(name.lower()).suffix)
    if format_ is not None and format_ not in TEXT_FORMATS:
        raise UnreadableDataset(f"a packed {format_.value} file is not read; unpack it first")
    return format_

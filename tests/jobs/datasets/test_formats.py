"""Telling formats apart by content and name, and naming what is not a table."""

from __future__ import annotations

import pytest

from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.formats import Format, Packing, Recognised, recognise


@pytest.mark.parametrize(
    ("head", "name", "format_"),
    [
        (b"a,b\n1,2\n", "t.csv", Format.CSV),
        (b"a,b\n1,2\n", "no ending", Format.CSV),
        (b"a\tb\n", "T.TSV", Format.TSV),
        (b'{"a":1}\n', "t.ndjson", Format.JSONL),
        (b'{"a":1}\n', "upload", Format.JSONL),
        (b'\xef\xbb\xbf{ "a":1}\n', "upload.csv", Format.JSONL),
        (b'[ {"a":1}]', "upload", Format.JSON),
        (b"[not json", "t.csv", Format.CSV),
        (b"PAR1....", "wrong.csv", Format.PARQUET),
    ],
)
def test_content_and_name_tell_the_format(head: bytes, name: str, format_: Format) -> None:
    assert recognise(head, name) == Recognised(Packing.NONE, format_)


def test_packed_tables_are_named_by_what_is_inside() -> None:
    assert recognise(b"\x1f\x8b..", "t.tsv.gz") == Recognised(Packing.GZIP, Format.TSV)
    assert recognise(b"\x1f\x8b..", "upload.gz") == Recognised(Packing.GZIP, None)
    assert recognise(b"PK\x03\x04", "book.xlsx") == Recognised(Packing.ZIP, None)


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (b"", "t.csv", "empty"),
        (b"%PDF-1.7", "t.csv", "PDF"),
        (b"\x89PNG\r\n", "t.csv", "picture"),
        (b"SQLite format 3\0", "t.csv", "export the table as CSV"),
        (b"\xd0\xcf\x11\xe0", "t.xls", "old Excel"),
        (b"a\0b\0c", "t.csv", "binary"),
        (b"\x7fELF\2\1", "t.csv", "program"),
        (b"<!DOCTYPE html><html>", "t.csv", "web page"),
        (b'\n <?xml version="1.0"?>', "t.csv", "XML"),
        (b"hello", "t.parquet", "named like a Parquet file but is not"),
        (b"hello", "t.xlsx", "named like an Excel workbook but is not"),
        (b"\x1f\x8b..", "t.parquet.gz", "unpack it first"),
        (b"BZh9", "t.csv.bz2", "bzip2"),
    ],
)
def test_what_is_no_table_is_named(head: bytes, name: str, words: str) -> None:
    with pytest.raises(UnreadableDataset, match=words):
        recognise(head, name)

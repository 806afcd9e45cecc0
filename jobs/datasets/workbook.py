"""An Excel workbook to a CSV file: the first sheet that has data, as Excel last computed it."""

from __future__ import annotations

import csv
import datetime as dt
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl

from jobs.datasets.errors import UnreadableDataset

ROWS_EXCEL_HAS = 1_048_576


def write_first_sheet(
    path: Path, target: Path, *, columns_max: int, bytes_max: int
) -> tuple[str, ...]:
    """Write the first sheet with data to `target` as CSV; returns notes.

    Formulas give the value Excel last computed. Raises `UnreadableDataset` if the workbook is
    damaged, too large when unpacked, or has no data.
    """
    _refuse_oversized(path, bytes_max)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        for position, sheet in enumerate(book.worksheets):
            sheet.reset_dimensions()
            if _write_sheet(sheet.iter_rows(values_only=True), target, columns_max):
                return _sheet_notes(book.sheetnames, sheet.title, position)
    except (zipfile.BadZipFile, ParseError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise UnreadableDataset(f"the workbook is damaged or cut off: {error}") from error
    raise UnreadableDataset("the workbook has no sheet with data in it")


def _refuse_oversized(path: Path, bytes_max: int) -> None:
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > bytes_max:
        raise UnreadableDataset(
            f"unpacked, the workbook is {size // 2**20:,} MiB; "
            f"at most {bytes_max // 2**20:,} are read"
        )


def _sheet_notes(names: list[str], title: str, position: int) -> tuple[str, ...]:
    if len(names) == 1:
        return ()
    empty = "; the sheets before it are empty" if position else ""
    return (f"the sheet {title!r} of {len(names)} was read{empty}",)


def _write_sheet(rows: Iterable[tuple[Any, ...]], target: Path, columns_max: int) -> bool:
    """Write the rows that have something in them; False if none has."""
    written = 0
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        for number, row in enumerate(rows):
            if number >= ROWS_EXCEL_HAS:
                raise UnreadableDataset("the sheet claims more rows than Excel can have")
            cells = _trim(row)
            if len(cells) > columns_max:
                raise UnreadableDataset(
                    f"the sheet has {len(cells):,} columns; at most {columns_max:,} are read"
                )
            if cells:
                writer.writerow(list(_print_cells(cells)))
                written += 1
    return written > 0


def _trim(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row without the empty cells at its end."""
    end = len(row)
    while end and (row[end - 1] is None or row[end - 1] == ""):
        end -= 1
    return row[:end]


def _print_cells(cells: Iterable[Any]) -> Iterator[str]:
    for cell in cells:
        match cell:
            case None:
                yield ""
            case bool():
                yield "true" if cell else "false"
            case dt.datetime() if cell.time() == dt.time():
                yield cell.date().isoformat()
            case dt.datetime():
                yield cell.isoformat(sep=" ")
            case float():
                yield repr(cell)
            case _:
                yield str(cell).replace("\r\n", "\n").replace("\r", "\n")

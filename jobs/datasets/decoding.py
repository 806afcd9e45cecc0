"""Any text file to clean UTF-8 with plain line ends, or a clear word on why it is not text.

Tried in order: a byte order mark (UTF-8, UTF-16), UTF-8, and last Windows-1252, the usual encoding
of older spreadsheet exports. Every byte sequence is *some* Windows-1252 text, so that guess is
only taken if what comes out reads like text, and it is noted.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.formats import Packing
from jobs.datasets.unpacking import open_unpacked

BLOCK_CHARACTERS = 1 << 20
SAMPLE_CHARACTERS = 1 << 20
FOREIGN_SHARE_MAX = 0.3
CONTROLS = {chr(code) for code in (*range(9), 11, *range(14, 32), 127)}
# What accented letters and the usual typographic signs become; the rest is a sign of a bad guess.
USUAL_SIGNS = set("‘’“”–—…€£°§«»·•©®™¼½¾²³±¿¡ªºµ´¨\u00a0¢¥×÷¹¶")


class Text:
    """A text table on disk: its encoding is known, its content not yet looked at."""

    def __init__(self, path: Path, packing: Packing, bytes_max: int) -> None:
        self._path, self._packing, self._bytes_max = path, packing, bytes_max
        self.encoding, self.notes = self._find_encoding()

    def sample(self) -> str:
        """The first million characters, ending with a whole line if there is more."""
        with self._open(newline="") as stream:
            sample = stream.read(SAMPLE_CHARACTERS)
            if len(sample) < SAMPLE_CHARACTERS:
                return sample
        cut = max(sample.rfind("\n"), sample.rfind("\r"))
        return sample[: cut + 1] if cut > 0 else sample

    def write_rows(self, target: Path, lines_to_skip: int) -> None:
        """Copy what follows the first lines to `target` as UTF-8 with `\\n` line ends."""
        with self._open(newline=None) as stream, target.open("w", encoding="utf-8") as out:
            for _ in range(lines_to_skip):
                stream.readline()
            while block := stream.read(BLOCK_CHARACTERS):
                out.write(block)

    @contextmanager
    def _open(self, newline: str | None) -> Iterator[io.TextIOWrapper]:
        with open_unpacked(self._path, self._packing, self._bytes_max) as stream:
            yield io.TextIOWrapper(stream, self.encoding, newline=newline)

    def _find_encoding(self) -> tuple[str, tuple[str, ...]]:
        with open_unpacked(self._path, self._packing, self._bytes_max) as stream:
            head = stream.read(4)
            if not head:
                raise UnreadableDataset("the file is empty")
            marked = _encoding_by_mark(head)
            bad_byte = _first_undecodable(head, stream, marked or "utf-8")
        if bad_byte is None:
            return marked or "utf-8", ()
        if marked:
            raise UnreadableDataset(
                f"the file says it is {marked} but byte {bad_byte:,} is not; save it as UTF-8"
            )
        self.encoding = "cp1252"
        if not self._reads_like_text():
            raise UnreadableDataset(
                f"the file is not UTF-8 text (byte {bad_byte:,} is not valid) and no other "
                "encoding fits; save it as UTF-8"
            )
        return "cp1252", ("the file is not UTF-8; it was read as Windows-1252",)

    def _reads_like_text(self) -> bool:
        """No control characters, and what is not ASCII is mostly letters and usual signs."""
        foreign = strange = 0
        try:
            with self._open(newline="") as stream:
                while block := stream.read(BLOCK_CHARACTERS):
                    present = set(block)
                    if present & CONTROLS:
                        return False
                    for character in present - _ASCII:
                        count = block.count(character)
                        foreign += count
                        if not (character.isalpha() or character in USUAL_SIGNS):
                            strange += count
        except UnicodeDecodeError:
            return False
        return strange <= FOREIGN_SHARE_MAX * foreign


_ASCII = {chr(code) for code in range(128)}


def _encoding_by_mark(head: bytes) -> str | None:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None


def _first_undecodable(head: bytes, stream: io.BufferedReader, encoding: str) -> int | None:
    """Decode to the end; the position of the first byte that does not fit, or None.

    Raises `UnreadableDataset` for zero bytes, which no text table has.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    read_before = 0
    for block in _blocks(head, stream):
        try:
            text = decoder.decode(block)
        except UnicodeDecodeError as error:
            return read_before + error.start
        if "\0" in text:
            raise UnreadableDataset("the file is binary (it has zero bytes), not a text table")
        read_before += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return read_before
    return None


def _blocks(head: bytes, stream: io.BufferedReader) -> Iterator[bytes]:
    yield head
    while block := stream.read(BLOCK_CHARACTERS):
        yield block

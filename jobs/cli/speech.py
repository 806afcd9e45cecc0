"""How the command line talks: data on standard output, talk on standard error, and exit codes."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

# Texts come from files, models and strangers: nothing in them may be taken for our own markup.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


# A value longer than this comes last where values are listed.
LONG_CHARS = 60


class Code(IntEnum):
    """What the shell is told; the command's help lists them."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    UNREACHABLE = 3
    # EX_TEMPFAIL of sysexits.h: the same command may work later.
    LATER = 75
    INTERRUPTED = 130


class Complaint(Exception):
    """The command cannot do what was asked; told on standard error, with what to do next."""

    def __init__(self, message: str, *, hint: str = "", code: Code = Code.REFUSED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def say(text: RenderableType = "") -> None:
    """Talk to the person, on standard error."""
    err.print(text)


def complain(message: str, hint: str = "") -> None:
    """Tell what went wrong and what to do next."""
    err.print(Text.assemble(("error: ", "bold red"), plain(message)), soft_wrap=True)
    if hint:
        err.print(Text.assemble(("  try: ", "bold"), plain(hint)), soft_wrap=True)


def emit(data: object) -> None:
    """Print data as indented JSON on standard output."""
    _write(json.dumps(data, indent=2, ensure_ascii=False))


def emit_line(data: object) -> None:
    """Print data as one line of JSON on standard output, at once."""
    _write(json.dumps(data, ensure_ascii=False))


def _write(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
    sys.stdout.flush()


def log_on_stderr() -> None:
    """Keep what the floors below log away from the data, and to what is worth a warning."""
    import logging

    import structlog

    from store.logs import readable

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            readable(sys.stderr),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def plain(text: object) -> str:
    """Foreign text without control characters: a terminal obeys those."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "�" for c in str(text))


def one_line(text: object, chars_max: int) -> str:
    """Foreign text on one line of at most so many characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def gist(value: object, chars_max: int) -> str:
    """A JSON value in a few words: what one wants to see of it in a table."""
    return one_line(_words(value, depth=2), chars_max)


def _words(value: object, depth: int) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        if depth == 0:
            return "{…}" if value else "{}"
        told = {str(k): _words(v, depth - 1) for k, v in value.items() if v is not None}
        # Short ones before long ones, and first of all a title: it was made to be read.
        first = sorted(told, key=lambda name: (name != "title", len(told[name]) > LONG_CHARS))
        return " ".join(f"{name}={told[name]}" for name in first)
    if isinstance(value, list):
        if len(value) > 3 or depth == 0:
            return f"[{len(value)} items]" if len(value) != 1 else "[1 item]"
        return "[" + ", ".join(_words(item, depth - 1) for item in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def short_path(path: Path | str) -> str:
    """A path as one would type it here: relative when it is below this folder."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def moment(stamp: str | None) -> datetime | None:
    """A moment as the API writes it."""
    return None if stamp is None else datetime.fromisoformat(stamp)


def clock(stamp: str | None) -> str:
    """A moment as the wall clock here shows it: `14:02:11`."""
    at = moment(stamp)
    return "" if at is None else at.astimezone().strftime("%H:%M:%S")


def ago(stamp: str | None) -> str:
    """How long ago a moment was: `3 min ago`."""
    at = moment(stamp)
    if at is None:
        return ""
    age_s = max(0.0, (datetime.now(UTC) - at).total_seconds())
    return "just now" if age_s < 2 else f"{span(age_s)} ago"


def span(seconds: float | None) -> str:
    """A duration as people say it: `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 10 min`, `2 d`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d"
    if hours:
        return f"{hours} h {rest_min} min"
    return f"{minutes} min {rest_s} s"


def count(number: int, one: str) -> str:
    """So many of them: `1 step`, `2 steps`."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def size(size_bytes: int) -> str:
    """A size as people say it: `31.2 MB`."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def span_between(start: str | None, end: str | None) -> str:
    """The duration between two moments of the API, or until now."""
    first, last = moment(start), moment(end) or datetime.now(UTC)
    return "" if first is None else span(max(0.0, (last - first).total_seconds()))


STATUS_STYLE = {
    "completed": "green",
    "committed": "green",
    "failed": "red",
    "expired": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "input_required": "magenta",
    "queued": "blue",
    "ready": "blue",
    "waiting": "magenta",
    "pending": "magenta",
    "fired": "green",
    "answered": "green",
    "open": "red",
    "replaying": "cyan",
    "replayed": "green",
    "discarded": "dim",
}
STATUS_SIGN = {
    "completed": "✓",
    "committed": "✓",
    "failed": "✗",
    "expired": "✗",
    "cancelled": "■",
    "running": "▸",
    "input_required": "?",
    "queued": "·",
    "ready": "·",
    "waiting": "…",
    "pending": "…",
    "fired": "✓",
    "answered": "✓",
    "open": "✗",
    "replaying": "▸",
    "replayed": "✓",
    "discarded": "■",
}


def status_text(status: str) -> Text:
    """A status with its sign and colour; the words alone say everything, too."""
    return Text(f"{STATUS_SIGN.get(status, ' ')} {status}", style=STATUS_STYLE.get(status, ""))

"""One readable log of all processes: on the terminal merged and coloured, on disk one file each."""

from __future__ import annotations

import logging
import re
import threading
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from rich.console import Console
from rich.text import Text

from store.hosting.folder import private_folder

FILE_BYTES_MAX = 10 * 2**20
NAME_WIDTH = 15
# Names are told apart by colour; red stays free for what the messages themselves shout.
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green")

# Escape sequences, then any control character but the tab: what a process prints must not be able
# to move the cursor, rename the window or forge a line of another process.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class _LogFile(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A full disk loses lines; the processes that said them go on."""


class MergedLog:
    """Writes each line to `<folder>/<name>.log`, and to the console if there is one.

    Safe to use from any thread. Each file keeps at most twice `FILE_BYTES_MAX`.
    """

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self._folder = private_folder(folder)
        self._console = console
        self._lock = threading.Lock()
        self._files: dict[str, _LogFile] = {}

    def write(self, name: str, message: str) -> None:
        """Write one line said by the process `name`."""
        line = plain(message)
        now = datetime.now().astimezone()
        with self._lock:
            self._to_file(name, f"{now.isoformat(timespec='milliseconds')} {line}")
            if self._console is not None:
                try:
                    self._to_console(self._console, name, f"{now:%H:%M:%S}", line)
                except (OSError, SystemExit):
                    # The terminal is gone, which rich takes for the end of the program. It is not:
                    # whoever writes here goes on, and so do the files.
                    self._console = None

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _to_file(self, name: str, line: str) -> None:
        file = self._files.get(name)
        if file is None:
            path = self._folder / f"{name}.log"
            path.touch(mode=0o600)
            file = _LogFile(path, maxBytes=FILE_BYTES_MAX, backupCount=1, encoding="utf-8")
            self._files[name] = file
        file.emit(logging.makeLogRecord({"msg": line}))

    def _to_console(self, console: Console, name: str, time: str, line: str) -> None:
        colour = COLOURS[list(self._files).index(name) % len(COLOURS)]
        text = Text.assemble(
            (time, "dim"), " ", (f"{name:<{NAME_WIDTH}}", colour), (" │ ", "dim"), line
        )
        console.print(text, soft_wrap=True, highlight=False)


def plain(message: str) -> str:
    """The message as one line of text without anything a terminal would obey."""
    return _CONTROLS.sub(" ", _ESCAPES.sub("", message)).rstrip()

"""The development mail sink: takes any message over SMTP on 127.0.0.1 and keeps it as a file.

A message appears in the outbox whole or not at all, byte for byte as it was received, named after
the moment and its subject. Nothing is ever sent on. Both a message and the outbox have a limit,
and beyond it the sender is told so, in SMTP's words.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import secrets
import signal
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from email.policy import default as modern
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from jobs.platform.settings import MAILBOX_READY
from store.hosting.folder import private_folder
from store.hosting.loopback import ADDRESS, free_port

MESSAGE_BYTES_MAX = 50 * 2**20
MESSAGES_MAX = 10_000
SUBJECT_LENGTH_MAX = 60


class Outbox:
    """The folder of received messages, as aiosmtpd's handler."""

    def __init__(self, folder: Path, on_message: Callable[[str], None]) -> None:
        self.folder = private_folder(folder)
        self._on_message = on_message
        self._count = sum(1 for _ in self.folder.glob("*.eml"))

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self._count >= MESSAGES_MAX:
            return f"452 The outbox holds {MESSAGES_MAX} messages; remove some"
        content = envelope.content
        data = content if isinstance(content, bytes) else (content or "").encode()
        path = self.keep(data)
        self._count += 1
        self._on_message(f"kept {path.name} ({len(data)} bytes)")
        return f"250 Kept as {path.name}"

    def keep(self, message: bytes) -> Path:
        """Write the message whole or not at all; return its file."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        draft = self.folder / f".{secrets.token_hex(8)}.part"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(message)
        try:
            return _link_under_a_free_name(draft, self.folder, f"{moment}-{subject_slug(message)}")
        finally:
            draft.unlink()


def _link_under_a_free_name(draft: Path, folder: Path, name: str) -> Path:
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        path = folder / f"{name}{suffix}.eml"
        try:
            os.link(draft, path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{name}.eml, and a hundred more like it")


def subject_slug(message: bytes) -> str:
    """The subject in lower-case letters, digits and dashes; `no-subject` if nothing is left."""
    try:
        subject = str(BytesHeaderParser(policy=modern).parsebytes(message)["subject"] or "")
    except (ValueError, LookupError, AttributeError, TypeError, IndexError):
        # The parser trips over some malformed headers; the message is kept all the same.
        subject = ""
    plain = unicodedata.normalize("NFKD", subject).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:SUBJECT_LENGTH_MAX].strip("-")
    return slug or "no-subject"


def receive(folder: Path, port: int, on_message: Callable[[str], None]) -> Controller:
    """Start receiving in a thread; `stop()` ends it. Raises `OSError` when the port is taken."""
    if free_port(port) != port:
        # The controller would find out as well, but only tell after seconds.
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    controller = Controller(
        Outbox(folder, on_message),
        hostname=ADDRESS,
        port=port,
        data_size_limit=MESSAGE_BYTES_MAX,
        ident="Stepwell mailbox",
        # Looking up our own host name may take seconds on a machine without a name server.
        server_hostname="localhost",
    )
    controller.start()
    return controller


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m jobs.platform.mailbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--outbox", type=Path, required=True)
    options = parser.parse_args(arguments)
    # Blocked before any thread starts, so that all inherit it and only sigwait sees the signals.
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        controller = receive(options.outbox, options.port, _say)
    except OSError as error:
        _say(f"cannot listen on {ADDRESS}:{options.port}: {error.strerror}")
        return 1
    _say(f"{MAILBOX_READY} on {ADDRESS}:{options.port}, keeping messages in {options.outbox}")
    signal.sigwait(wanted)
    controller.stop()
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

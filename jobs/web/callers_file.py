"""The file of callers as it is written: one entry is put at its end, all that is there stays."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from jobs.web.callers import hash_of, parse, read_callers
from store.hosting.folder import write_private

# Tells whoever finds one in a log or a repository what it opens.
TOKEN_PREFIX = "stepwell_"  # noqa: S105 - the beginning of every token, not one
HEADING = "# Who may ask the API, and as whom. Of a token, only its hash is here.\n"


def add_caller(
    path: Path, name: str, *, roles: Sequence[str], origin: str, tenant_id: UUID | None = None
) -> str:
    """Add somebody to the file and return the token that was made for them.

    Raises `NotReady` when the file cannot be used, with them in it or as it was.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    told = {"name": name, "token_sha256": hash_of(token), "roles": list(roles), "origin": origin}
    if tenant_id is not None:
        told["tenant_id"] = str(tenant_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        before = HEADING
        if path.exists():
            read_callers(path)
            before = path.read_text("utf-8")
        # A text or a list of texts looks the same in TOML as in JSON, as long as it is plain.
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())
        text = f"{before.rstrip()}\n\n[[callers]]\n{lines}"
        parse(text, path)
        write_private(path, text)
    return token


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Whoever else adds somebody in this folder waits until the block is left."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)

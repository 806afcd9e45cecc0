"""Names that strangers chose: made harmless for a listing, a header, a file."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

NAME_CHARS_MAX = 200


def safe_name(asked: str) -> str:
    """The last part of a path without control characters; empty when nothing is left.

    >>> safe_name("../../etc/passwd\\r\\n")
    'passwd'
    """
    last = asked.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C" and c not in '"<>|')
    return kept.strip(" .")[-NAME_CHARS_MAX:]


def disposition(kind: str, name: str) -> str:
    """A Content-Disposition header (RFC 6266) for any name.

    >>> disposition("attachment", 'a"b.csv')
    'attachment; filename="ab.csv"'
    """
    safe = safe_name(name) or "artifact"
    plain = safe.encode("ascii", "replace").decode().replace("?", "_")
    header = f'{kind}; filename="{plain}"'
    if plain != safe:
        header += f"; filename*=UTF-8''{quote(safe, safe='')}"
    return header

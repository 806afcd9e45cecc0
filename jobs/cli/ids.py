"""Job ids as people type them: whole, a few characters of either end, or `last`.

New ids begin with the time, so jobs of one hour begin alike; tables show the ends, which differ.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from jobs.cli.speech import Complaint
from jobs.client import Client

SHORTEST = 6
SHOWN = 8
# Further back than this, one has to give the whole id.
LOOKED_THROUGH = 1000


def short(job_id: str) -> str:
    """The end of an id, enough to tell it from the others."""
    return job_id[-SHOWN:]


def find_job_id(client: Client, typed: str) -> str:
    """The whole id of the job that was meant; a `Complaint` when that is not clear."""
    asked = typed.strip().strip("….").lower()
    if asked == "last":
        return _newest(client)
    whole = _as_whole(asked)
    if whole is not None:
        return whole
    if len(asked) < SHORTEST or not re.fullmatch(r"[0-9a-f-]+", asked):
        raise Complaint(
            f"{typed!r} is not a job id. Give the whole id, or at least {SHORTEST} characters of "
            "its beginning or end, or `last`.",
            hint="stepwell jobs",
        )
    return _matching(client, typed, asked)


def _as_whole(asked: str) -> str | None:
    if len(asked) < 32:
        return None
    try:
        return str(UUID(asked))
    except ValueError:
        return None


def _newest(client: Client) -> str:
    newest = client.jobs(limit=1)
    if not newest:
        raise Complaint("There are no jobs yet.", hint="stepwell submit --help")
    return str(newest[0]["id"])


def _matching(client: Client, typed: str, asked: str) -> str:
    found = [job for job in client.jobs(limit=LOOKED_THROUGH) if _fits(job["id"], asked)]
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        raise Complaint(
            f"No job of the last {LOOKED_THROUGH:,} has an id that begins or ends with {typed!r}.",
            hint="stepwell jobs",
        )
    raise Complaint(
        f"{typed!r} could be any of {len(found)} jobs: {_listed(found)}. Type more of it."
    )


def _fits(job_id: str, asked: str) -> bool:
    bare = job_id.replace("-", "")
    return any(
        text.startswith(part) or text.endswith(part)
        for text, part in ((job_id, asked), (bare, asked.replace("-", "")))
    )


def _listed(found: list[dict[str, Any]]) -> str:
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(str(job["id"]) for job in found[:4]) + more

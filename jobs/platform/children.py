"""The processes of the platform: their commands, and what each of them may know.

Secrets travel in environments, and every process gets only those it needs:

    process          database    redis   smtp   API token   the user's own environment
    api              runtime     yes     -      yes         yes
    worker-waits     runtime     yes     yes    -           yes
    worker-computes  runtime     yes     -      -           yes
    scheduler        operator    yes     -      -           -
    flower           -           yes     -      -           -
    mail             -           -       -      -           -

Those that import the user's agents get the user's environment, with its model keys and whatever
the agents read; the others get what any program needs to run. Nobody gets the migration login.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.platform.processes import Child
from jobs.platform.settings import MAILBOX_READY, PlatformSettings
from store.hosting.loopback import ADDRESS

# Granted one by one, whatever the environment of `stepwell up` holds.
GRANTED = frozenset(
    f"STEPWELL_{name}"
    for name in (
        "DATABASE_URL",
        "OPERATOR_DATABASE_URL",
        "MIGRATION_DATABASE_URL",
        "REDIS_URL",
        "SMTP_URL",
        "API_TOKEN",
    )
)
# What any program needs to find its files and speak the user's language: names without secrets.
PLAIN = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV")
)
PLAIN_PREFIXES = ("LC_", "PYTHON")
SECRET_SUFFIXES = ("_URL", "_KEY", "_TOKEN", "_SECRET", "_PASSWORD")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is once the platform is up; URLs of servers hold their passwords."""

    home: Path
    api_url: str
    flower_url: str
    smtp_url: str = field(repr=False)
    database_url: str = field(repr=False)
    operator_database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_token: str = field(repr=False)
    token_file: Path
    database_is_private: bool
    redis_is_private: bool
    api_port: int
    flower_port: int
    # Both are None when mail goes to a server of the user's own.
    smtp_port: int | None = None
    outbox: Path | None = None


def platform_children(addresses: Addresses, settings: PlatformSettings) -> list[Child]:
    """Every process of ours, in the order the log names them."""
    children = [
        _api(addresses, settings),
        _worker(addresses, settings, "waits", settings.wait_slots),
        _worker(addresses, settings, "computes", settings.compute_slots),
        _scheduler(addresses, settings),
        _flower(addresses, settings),
    ]
    if addresses.smtp_port is not None and addresses.outbox is not None:
        children.insert(0, _mailbox(addresses.smtp_port, addresses.outbox, settings))
    return children


def _api(addresses: Addresses, settings: PlatformSettings) -> Child:
    return Child(
        name="api",
        command=_python(
            "uvicorn",
            "jobs.web.app:create_app",
            "--factory",
            "--host",
            ADDRESS,
            "--port",
            str(addresses.api_port),
            "--no-access-log",
        ),
        env=_user_env(
            STEPWELL_HOME=str(addresses.home),
            STEPWELL_DATABASE_URL=addresses.database_url,
            STEPWELL_REDIS_URL=addresses.redis_url,
            STEPWELL_API_TOKEN=addresses.api_token,
        ),
        ready_url=f"{addresses.api_url}/healthz",
        stop_timeout_s=settings.stop_timeout_s,
    )


def _worker(addresses: Addresses, settings: PlatformSettings, work: str, slots: int) -> Child:
    granted = {
        "STEPWELL_HOME": str(addresses.home),
        "STEPWELL_DATABASE_URL": addresses.database_url,
        "STEPWELL_REDIS_URL": addresses.redis_url,
    }
    if work == "waits":
        # Sending mail is waiting for a mail server; computing has nobody to write to.
        granted["STEPWELL_SMTP_URL"] = addresses.smtp_url
    return Child(
        name=f"worker-{work}",
        command=_python("jobs.worker", "--work", work, "--slots", str(slots)),
        env=_user_env(**granted),
        ready_line="worker ready",
        stop_timeout_s=settings.stop_timeout_s,
    )


def _scheduler(addresses: Addresses, settings: PlatformSettings) -> Child:
    return Child(
        name="scheduler",
        command=_python("scheduler"),
        env=_plain_env(
            STEPWELL_HOME=str(addresses.home),
            STEPWELL_OPERATOR_DATABASE_URL=addresses.operator_database_url,
            STEPWELL_REDIS_URL=addresses.redis_url,
        ),
        ready_line="scheduler ready",
        stop_timeout_s=settings.stop_timeout_s,
    )


def _flower(addresses: Addresses, settings: PlatformSettings) -> Child:
    return Child(
        name="flower",
        command=_python(
            "celery",
            "-A",
            "broker.app",
            "flower",
            f"--address={ADDRESS}",
            f"--port={addresses.flower_port}",
            "--read_only=true",
            "--max_tasks=10000",
            "--logging=warning",
        ),
        env=_plain_env(
            STEPWELL_HOME=str(addresses.home),
            STEPWELL_REDIS_URL=addresses.redis_url,
            # Without a password Flower answers no API call unless told to. Here it may: it listens
            # on the loopback only, read-only refuses everything that would run, revoke or change a
            # task or a worker (also over this API), its pages check the Origin of a request, and
            # what they show are names and ids. Without read-only, the same switch would let any
            # local program run tasks. Elsewhere than on a developer's machine, give it a password.
            FLOWER_UNAUTHENTICATED_API="true",
        ),
        ready_url=f"{addresses.flower_url}/healthcheck",
        # A window on the broker: jobs run without it.
        essential=False,
        stop_timeout_s=min(5.0, settings.stop_timeout_s),
    )


def _mailbox(port: int, outbox: Path, settings: PlatformSettings) -> Child:
    return Child(
        name="mail",
        command=_python("jobs.platform.mailbox", "--port", str(port), "--outbox", str(outbox)),
        env=_plain_env(),
        ready_line=MAILBOX_READY,
        stop_timeout_s=settings.stop_timeout_s,
    )


def _python(*words: str) -> tuple[str, ...]:
    # -P: a file of the user's that is named like a package of ours must not take its place.
    return (sys.executable, "-P", "-m", *words)


def _user_env(**granted: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in GRANTED}
    return _with(env, granted)


def _plain_env(**granted: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if _is_plain(name)}
    return _with(env, granted)


def _is_plain(name: str) -> bool:
    if name.startswith("STEPWELL_"):
        return name not in GRANTED and not name.endswith(SECRET_SUFFIXES)
    return name in PLAIN or name.startswith(PLAIN_PREFIXES)


def _with(env: Mapping[str, str], granted: Mapping[str, str]) -> dict[str, str]:
    # Unbuffered, or lines would wait in a pipe instead of the log.
    # The merged log writes the time itself.
    return {**env, **granted, "PYTHONUNBUFFERED": "1", "STEPWELL_LOG_TIMES": "no"}

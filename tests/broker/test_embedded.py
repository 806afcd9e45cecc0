"""The private Valkey: real servers, started, killed, left behind and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError
from redis.retry import Retry

from broker.embedded import PrivateValkey
from store.hosting import offspring
from store.hosting.errors import CannotRun, FolderInUse

ROOT = Path(__file__).parents[2]
PARENT = """
import sys
from pathlib import Path
from broker.embedded import PrivateValkey
from store.hosting import offspring
if sys.argv[2:] == ["untied"]:
    offspring.tie = lambda dies_by: []
server = PrivateValkey(Path(sys.argv[1]))
server.start()
print(server.pid, server.url, flush=True)
sys.stdin.read()
"""


def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def start_parent_and_kill_it(home: Path, *words: str) -> tuple[int, str]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    parent.kill()
    parent.communicate()
    return int(pid), url.decode()


def test_it_answers_those_who_know_the_password(tmp_path: Path) -> None:
    with PrivateValkey(tmp_path) as server:
        assert server.url.startswith("redis://:")
        assert server.url.endswith(f"@127.0.0.1:{server.port}/0")
        with Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
            assert client.config_get("save") == {"save": ""}
        once = Retry(NoBackoff(), retries=0)
        with Redis(port=server.port, retry=once) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        seen = offspring.look_at(server.pid or 0)
        assert seen is not None
        assert server.password not in seen.command
    assert not server.is_running


def test_it_refuses_what_does_not_fit_rather_than_forget(tmp_path: Path) -> None:
    with PrivateValkey(tmp_path, memory_mb_max=4) as server, Redis.from_url(server.url) as client:
        client.set("first", "kept")
        with pytest.raises(OutOfMemoryError):
            fill(client)
        assert client.get("first") == b"kept"


def fill(client: Redis) -> None:
    for number in range(100):
        client.set(f"more-{number}", "x" * 100_000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal is Linux's")
def test_killing_the_parent_ends_the_server(tmp_path: Path) -> None:
    pid, _ = start_parent_and_kill_it(tmp_path)
    assert eventually(lambda: offspring.look_at(pid) is None)


def test_a_server_left_behind_is_ended_at_the_next_start(tmp_path: Path) -> None:
    left_pid, url = start_parent_and_kill_it(tmp_path, "untied")
    with Redis.from_url(url) as client:
        assert client.ping(), "it should have been left running for this test"

    with PrivateValkey(tmp_path) as server:
        assert offspring.look_at(left_pid) is None
        assert server.pid != left_pid


def test_a_running_server_is_refused_to_others_by_name(tmp_path: Path) -> None:
    with PrivateValkey(tmp_path) as server:
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            PrivateValkey(tmp_path).start()
        assert server.is_running


def test_a_server_that_died_comes_back_at_the_same_address(tmp_path: Path) -> None:
    with PrivateValkey(tmp_path) as server:
        url = server.url
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not server.is_running)

        server.start()
        assert server.url == url
        with Redis.from_url(url) as client:
            assert client.ping()


def test_a_port_that_stays_taken_is_named_in_the_error(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        server = PrivateValkey(tmp_path, port=busy.getsockname()[1])
        with pytest.raises(CannotRun, match="in use"):
            server.start()
    assert not server.is_running
    with server:
        assert server.port == int(server.url.rpartition(":")[2].partition("/")[0])

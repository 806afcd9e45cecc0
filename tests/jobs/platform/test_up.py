"""The platform as a whole: real servers, tiny processes in place of ours, every way to end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from broker.embedded import PrivateValkey
from jobs.platform.children import Addresses
from jobs.platform.processes import Child
from jobs.platform.settings import PlatformSettings
from jobs.platform.up import Platform
from store.embedded import PrivatePostgres
from store.hosting import offspring
from store.hosting.errors import CannotRun, FolderInUse

ROOT = Path(__file__).parents[3]

HEALTHY = """
import http.server, sys
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy)
print("serving", flush=True)
server.serve_forever()
"""
NAP = "import time; print('worker ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {NAP}"
SICK = "raise SystemExit('a table is missing')"

# `stepwell up` in a process of its own: the folder, and the code its worker runs.
FOREGROUND = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from jobs.platform.foreground import run_foreground
from jobs.platform.processes import Child
from jobs.platform.settings import PlatformSettings
from jobs.platform.up import Platform
from rich.console import Console
home, worker = Path(sys.argv[1]), sys.argv[2]
console = Console(width=100)
settings = PlatformSettings(api_port=0, flower_port=0, smtp_port=0)
def plan(addresses, settings):
    run = (sys.executable, "-uSc")
    api = Child("api", (*run, {HEALTHY!r}, str(addresses.api_port)), env={{}},
                ready_url=addresses.api_url + "/healthz")
    return [api, Child("worker", (*run, worker), env={{}}, ready_line="worker ready")]
platform = Platform(home, settings, console=console, plan=plan, migrate=lambda *urls: None)
raise SystemExit(run_foreground(console=console, platform=platform))
"""


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sw") as folder:
        yield Path(folder) / "home"


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """One home for most tests, as they all leave a platform that can be started again."""
    with tempfile.TemporaryDirectory(prefix="sw") as folder:
        with PrivatePostgres(Path(folder) / "home", durable=False):
            pass
        yield Path(folder) / "home"


def plan(addresses: Addresses, settings: PlatformSettings) -> Sequence[Child]:
    run = (sys.executable, "-uSc")
    return [
        Child(
            "api",
            (*run, HEALTHY, str(addresses.api_port)),
            env={},
            ready_url=f"{addresses.api_url}/healthz",
        ),
        Child("worker", (*run, NAP), env={}, ready_line="worker ready"),
        Child("flower", (*run, NAP), env={}, ready_line="ready", essential=False),
    ]


def platform(home: Path, **settings: object) -> Platform:
    values = {"api_port": 0, "flower_port": 0, "smtp_port": 0, **settings}
    return Platform(
        home,
        PlatformSettings(**values),  # type: ignore[arg-type]
        plan=plan,
        migrate=lambda *_urls: None,
    )


def described(home: Path) -> dict[str, object]:
    path = home / "platform.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def processes(home: Path) -> dict[str, int]:
    found = described(home).get("processes", {})
    assert isinstance(found, dict)
    return found


def none_runs(pids: dict[str, int]) -> bool:
    return all(offspring.look_at(pid) is None for pid in pids.values())


Up = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def up() -> Iterator[Up]:
    """`stepwell up` in a process of its own: `up(home, code of its worker)`."""
    started: list[subprocess.Popen[str]] = []

    def start(home: Path, worker: str = NAP) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", FOREGROUND, str(home), worker],
                cwd=home.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_up_tells_where_everything_is_and_down_leaves_nothing(made_home: Path) -> None:
    stages: list[str] = []
    started = platform(made_home)
    addresses = started.start(stages.append)
    assert addresses is not None
    try:
        text = described(made_home)
        assert {"url", "token_file", "flower_url", "smtp_url", "outbox"} <= text.keys()
        assert text["pid"] == os.getpid()
        assert set(processes(made_home)) >= {"postgres", "redis", "api", "worker"}
        assert eventually(lambda: "flower" in processes(made_home))
        assert not none_runs({"worker": processes(made_home)["worker"]})
        assert urllib.request.urlopen(f"{text['url']}/healthz").status == 200
        for file in (made_home / "platform.json", Path(str(text["token_file"]))):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(stages) == 3
        pids = processes(made_home)
    finally:
        started.stop()
        started.stop()

    assert none_runs(pids)
    assert not (made_home / "platform.json").exists()
    assert "worker ready" in (made_home / "logs/worker.log").read_text()


def test_the_token_stays_the_same(made_home: Path) -> None:
    with platform(made_home) as first:
        assert first.addresses is not None
        token = first.addresses.api_token
    with platform(made_home) as second:
        assert second.addresses is not None
        assert second.addresses.api_token == token


def test_a_busy_port_is_left_to_its_owner(made_home: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with platform(made_home, api_port=port) as running:
            assert running.addresses is not None
            assert running.addresses.api_port != port


def test_the_second_up_in_a_folder_is_told_of_the_first(up: Up, made_home: Path) -> None:
    with platform(made_home):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            platform(made_home).start()
        second = up(made_home)
        said, _ = second.communicate(timeout=30)
        assert second.returncode == 1
        assert f"in use by process {os.getpid()}" in said
        assert "Traceback" not in said
        assert processes(made_home), "the first is not disturbed"


def test_a_killed_process_is_back_and_announced(made_home: Path) -> None:
    with platform(made_home):
        killed = processes(made_home)["worker"]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: processes(made_home).get("worker", killed) != killed)


def test_servers_that_die_come_back_where_they_were(made_home: Path) -> None:
    with platform(made_home) as running:
        before, pids = described(made_home), processes(made_home)
        for name in ("postgres", "redis"):
            os.kill(pids[name], signal.SIGKILL)

        def all_are_back() -> bool:
            running.wait(0.25)
            now = processes(made_home)
            return all(now.get(name, pids[name]) != pids[name] for name in ("postgres", "redis"))

        assert eventually(all_are_back)
        after = described(made_home)
    assert before["redis_url"] == after["redis_url"]
    assert before["database_url"] == after["database_url"]


def test_servers_of_your_own_are_used_and_left_running(home: Path) -> None:
    with PrivateValkey(home.parent / "own") as own:
        url = "postgresql://me:secret@db.example.com/stepwell"
        with platform(home, redis_url=own.url, database_url=url) as running:
            assert running.addresses is not None
            assert running.addresses.redis_url == own.url
            assert running.addresses.operator_database_url == url
            assert "secret" not in repr(running.settings)
            assert set(running.processes()) & {"postgres", "redis"} == set()
        assert own.is_running
    assert not (home / "postgres").exists()


def test_a_process_that_cannot_start_takes_nothing_down_with_it(made_home: Path) -> None:
    sick = Child("sick", (sys.executable, "-uSc", SICK), env={}, ready_line="ready")
    broken = Platform(
        made_home,
        PlatformSettings(api_port=0, flower_port=0, smtp_port=0),
        plan=lambda addresses, settings: [*plan(addresses, settings), sick],
        migrate=lambda *_urls: None,
    )
    with pytest.raises(CannotRun, match="sick does not run; its last lines:\na table is missing"):
        broken.start()
    assert broken.processes() == {}
    assert not (made_home / "platform.json").exists()
    with platform(made_home) as running:
        assert running.addresses is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_of_it(up: Up, made_home: Path, number: signal.Signals) -> None:
    running = up(made_home)
    assert eventually(lambda: "worker" in processes(made_home))
    pids = processes(made_home)

    running.send_signal(number)

    said, _ = running.communicate(timeout=15)
    assert running.returncode == 0, said
    assert "Stepwell is up" in said
    assert described(made_home) == {}
    assert none_runs(pids)
    assert "worker          │ worker ready" in said


def test_a_second_ctrl_c_kills_what_does_not_stop(up: Up, made_home: Path) -> None:
    running = up(made_home, STUBBORN)
    assert eventually(lambda: "worker" in processes(made_home))
    pids = processes(made_home)
    asked = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert eventually(lambda: none_runs({"api": pids["api"]}))
    assert running.poll() is None

    running.send_signal(signal.SIGINT)

    running.communicate(timeout=15)
    assert time.monotonic() - asked < 8, "it has ten seconds when nobody insists"
    assert running.returncode == 0
    assert none_runs(pids)


def test_ctrl_c_while_starting_stops_as_well(up: Up, made_home: Path) -> None:
    running = up(made_home, "import time; print('not yet', flush=True); time.sleep(60)")
    log = made_home / "logs/worker.log"
    assert eventually(lambda: log.exists() and "not yet" in log.read_text())
    assert described(made_home) == {}

    running.send_signal(signal.SIGINT)

    said, _ = running.communicate(timeout=15)
    assert running.returncode == 0, said
    assert "Stepwell is up" not in said


def test_what_cannot_run_is_told_without_a_traceback(up: Up, made_home: Path) -> None:
    running = up(made_home, SICK)
    said, _ = running.communicate(timeout=15)
    assert running.returncode == 1
    assert "a table is missing" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal is Linux's")
def test_killing_up_leaves_nothing_and_the_next_start_works(up: Up, made_home: Path) -> None:
    running = up(made_home)
    assert eventually(lambda: "worker" in processes(made_home))
    pids = processes(made_home)

    running.kill()
    running.communicate()

    assert eventually(lambda: none_runs(pids))
    with platform(made_home) as again:
        assert again.addresses is not None
